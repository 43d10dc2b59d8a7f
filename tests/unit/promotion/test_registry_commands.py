"""The commands `promote`, `rollback` and `registry`."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deepicd import cli
from deepicd.errors import DeepICDError, MissingError
from deepicd.promotion.lineage import Lineage
from deepicd.promotion.registry import Registry
from deepicd.records import (
    Decision,
)


@pytest.fixture
def run(registry: Registry) -> Callable[..., tuple[int, str]]:
    """Call the real command line on the registry; exit code and standard output."""

    def call(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli.app, [*arguments, "--registry", str(registry.root)])
        if isinstance(result.exception, DeepICDError):
            return result.exception.exit_code, str(result.exception)
        return result.exit_code, result.output

    return call


def test_promote_by_force_and_rollback_move_the_alias(
    run: Callable[..., tuple[int, str]], registry: Registry
) -> None:
    assert run("promote", "v0001", "--force") == (0, "v0001 is champion (forced)\n")
    assert registry.aliases() == {"champion": "v0001"}
    code, text = run("rollback", "--reason", "slow", "--json")
    assert code == 0 and json.loads(text)["details"]["reason"] == "slow"
    assert registry.aliases() == {"champion": "v0002"}
    assert run("rollback")[0] == 0
    code, text = run("rollback")
    assert code == 10 and "no earlier champion" in text


def test_promote_uses_the_decision_on_record(
    run: Callable[..., tuple[int, str]], registry: Registry
) -> None:
    declined = Decision(False, ["NOT met: too little"], {})
    registry.judge("s", lambda use: {"v0001": declined}, champion="v0002")
    code, text = run("promote", "v0001")
    assert (code, registry.aliases()) == (0, {"champion": "v0002"})
    assert text == "v0001 was not promoted; nothing changed\n  NOT met: too little\n"
    accepted = Decision(True, ["met: enough"], {"p": 0.01})
    registry.judge("s", lambda use: {"v0001": accepted}, champion="v0002")
    code, text = run("promote", "v0001", "--json")
    assert json.loads(text) == {
        "accepted": True, "reasons": ["met: enough"], "numbers": {"p": 0.01}, "version": "v0001",
        "champion": "v0001",
    }  # fmt: skip


def test_promote_without_decision_or_split_names_the_way_out(
    run: Callable[..., tuple[int, str]], registry: Registry
) -> None:
    code, text = run("promote", "v0001")
    assert code == 4 and "--split" in text and "--force" in text
    code, text = run("promote", "v1")
    assert code == 4 and "nearest: v0001" in text
    assert registry.aliases() == {"champion": "v0002"}


def test_registry_commands_tell_what_is_there(
    run: Callable[..., tuple[int, str]], registry: Registry
) -> None:
    rows = json.loads(run("registry", "list", "--json")[1])
    assert [(row["name"], row["alias"]) for row in rows] == [("v0001", None), ("v0002", "champion")]
    assert run("registry", "list")[0] == 0
    assert "# v0002" in run("registry", "show", "champion")[1]
    difference = json.loads(run("registry", "diff", "v0001", "champion", "--json")[1])
    assert {"field": "lineage.trial", "first": "t1", "second": "t2"} in difference
    assert run("registry", "verify") == (0, "verified: v0001, v0002\n")
    events = json.loads(run("registry", "log", "--json")[1])
    assert [event["kind"] for event in events] == ["registered", "promoted"] * 2
    (registry.get("v0001").path / "config.json").write_text("{}")
    code, text = run("registry", "verify")
    assert code == 7 and "differs from its manifest" in text


@pytest.mark.parametrize(
    "command",
    ["registry list", "registry verify", "registry log", "registry show v0001",
     "registry diff v0001 v0002", "rollback", "challenge end", "challenge shadow v0001",
     "promote v0001", "promote v0001 --force"],
)  # fmt: skip
def test_where_no_registry_is_nothing_is_done_and_nothing_is_left(
    command: str, tmp_path: Path
) -> None:
    place = tmp_path / "nowhere"
    result = CliRunner().invoke(cli.app, [*command.split(), "--registry", str(place)])
    assert isinstance(result.exception, MissingError)
    assert f"{place}" in str(result.exception) and not place.exists()


def test_a_version_is_shown_with_its_lineage(
    run: Callable[..., tuple[int, str]], registry: Registry, models: list[Path]
) -> None:
    lineage = Lineage(stage="grpo", run="a", trial="40a2", code={"commit": "bcc8ecba1c86e"})
    registry.register(models[2], lineage=lineage.as_dict())
    _, text = run("registry", "show", "v0003")
    assert "# v0003" in text and "answers       those whose model_version is v0003" in text
    assert "run           a\n" in text and "code          commit bcc8ecba1c86\n" in text
    assert "grpo, run a," in run("registry", "list")[1]
    shown = json.loads(run("registry", "show", "v0003", "--json")[1])
    assert shown["lineage"]["trial"] == "40a2"


def test_a_model_folder_that_is_not_there_is_said_before_anything_heavy_is_imported(tmp_path):
    words = ["registry", "add", str(tmp_path / "my-model"), "--registry", str(tmp_path / "r")]
    code = (
        "import sys\nfrom deepicd.cli import app\nfrom deepicd.errors import MissingError\n"
        f"try:\n    app({words!r}, standalone_mode=False)\n"
        "except MissingError as error:\n    print(error)\n"
        "print([name for name in ('ray', 'torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told, imported = done.stdout.splitlines()
    assert told.startswith(f"there is no folder {tmp_path / 'my-model'}.")
    assert imported == "[]" and done.stderr == ""
    assert not (tmp_path / "r").exists()
