"""The examples of `deepicd plan --help`, as they stand there; some of them compose with verl."""

import inspect
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from deepicd.cli.experiments import plan

EXAMPLES = [
    line.strip()
    for line in inspect.getdoc(plan.command).splitlines()  # type: ignore[union-attr]
    if line.strip().startswith("deepicd ")
]


def test_the_help_has_examples() -> None:
    assert len(EXAMPLES) >= 3 and all(line.startswith("deepicd plan ") for line in EXAMPLES)


@pytest.mark.parametrize("noun", ["plan", "sweep plan"])
@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_help_runs(example: str, noun: str, root: Path) -> None:
    words = shlex.split(example.replace("deepicd plan", noun, 1))
    done = subprocess.run(
        [sys.executable, "-m", "deepicd", *words],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "trials" in done.stdout or "trial 1" in done.stdout
