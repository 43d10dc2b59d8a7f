"""The commands `promote`, `rollback` and `registry`."""

import json
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from deepicd import cli
from deepicd.errors import (
    DeepICDError,
)
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


def test_promote_by_force_and_rollback_move_the_title(
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
    registry.record_decision("v0001", "v0002", declined, split="s")
    code, text = run("promote", "v0001")
    assert (code, registry.aliases()) == (0, {"champion": "v0002"})
    assert text == "v0001 was not promoted; nothing changed\n  NOT met: too little\n"
    accepted = Decision(True, ["met: enough"], {"p": 0.01})
    registry.record_decision("v0001", "v0002", accepted, split="s")
    code, text = run("promote", "v0001", "--json")
    assert json.loads(text) == {
        "accepted": True, "reasons": ["met: enough"], "numbers": {"p": 0.01}, "champion": "v0001",
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
    assert run("registry", "verify") == (0, "sound: v0001, v0002\n")
    events = json.loads(run("registry", "log", "--json")[1])
    assert [event["kind"] for event in events] == ["registered", "promoted"] * 2
    (registry.get("v0001").path / "config.json").write_text("{}")
    code, text = run("registry", "verify")
    assert code == 7 and "differs from its manifest" in text
