"""What the cluster holds is read in one file, which alone knows Ray's private tables."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import deepicd
from deepicd.clusters.state import _describe_death

PACKAGE = Path(deepicd.__file__).parent
PRIVATE = ("ray._private", "ray._raylet")


def reaches(source: str) -> list[str]:
    """Private modules of Ray that a source names, in an import or as an attribute."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            names = [ast.unparse(node)]
        found += [name for name in names if name.startswith(PRIVATE)]
    return found


def test_only_state_knows_private_modules_of_ray() -> None:
    readers = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if reaches(path.read_text(encoding="utf-8"))
    }
    assert readers == {"clusters/state.py"}


@pytest.mark.parametrize(
    "source",
    [
        "import ray\nray._private.state.actors()",
        "import ray._private.state",
        "from ray._private import worker",
        "from ray import _raylet",
    ],
)
def test_every_way_into_private_modules_of_ray_is_seen(source: str, root: Path) -> None:
    assert reaches(source)
    command = [sys.executable, "-m", "ruff", "check", "--select=TID251", "--output-format=concise"]
    command += ["--config", str(root / "pyproject.toml"), "--stdin-filename"]
    command += [str(root / "platform" / "deepicd" / "sweeps" / "run.py"), "-"]
    checked = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    assert "Only deepicd.clusters.state knows" in checked.stdout and checked.returncode == 1


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"DeathReason": 2, "DeathReasonMessage": "NODE_PREEMPTED by the cloud"}, "pre-empted"),
        ({"DeathReason": 1, "DeathReasonMessage": "health check failed"}, "lost"),
        ({}, "lost"),
    ],
)
def test_a_node_that_is_gone_was_pre_empted_or_lost(node: dict[str, object], words: str) -> None:
    assert _describe_death(node) == words
