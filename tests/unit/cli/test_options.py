"""What holds for the options of every command: usable numbers, expanded paths."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from typer.testing import CliRunner

from deepicd import cli
from deepicd.cli import COMMANDS
from deepicd.config import load_experiment
from deepicd.errors import ConfigError

HOSTILE = {
    float: ["inf", "-inf", "nan", "1e400", "1e300", "-1e300", "9" * 400],
    int: ["inf", "nan", "1e400", "1.5", "9" * 30, "-" + "9" * 30, "9" * 5000, str(2**40)],
}


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield name, command
        return
    for word, child in children.items():
        yield from commands(child, f"{name} {word}")


def parameters() -> list[tuple[str, Any, Any]]:
    return [
        (name, command, parameter)
        for noun in COMMANDS
        for name, command in commands(cli._load(noun), noun)
        for parameter in command.params
    ]


def kinds(parameter: Any) -> set[Any]:
    annotation = parameter.type_descriptor.annotation
    return {annotation, *get_args(annotation)}


PARAMETERS = parameters()
NUMBERS = [row for row in PARAMETERS if {int, float} & kinds(row[2])]
PATHS = [row for row in PARAMETERS if Path in kinds(row[2])]
PLACES = {
    *(
        "serve.registry",
        "serve.archive",
        "promote.registry",
        "promote.name",
        "registry list.registry",
    ),
    *("query.paths", "evaluate.model", "monitor export.to", "resume.name", "sweep resume.name"),
}
"""Places that are text, because they may be URLs, names or `-`."""


def read(command: Any, parameter: Any, value: Any) -> Any:
    return parameter.process_value(typer.Context(command), value)


def ids(rows: list[tuple[str, Any, Any]]) -> list[str]:
    return [f"{name}.{parameter.name}" for name, _, parameter in rows]


def test_every_command_is_walked_over() -> None:
    assert len({name for name, _, _ in PARAMETERS}) > 35
    assert {"score.num_bootstrap", "plan.step_s", "query.min_confidence"} <= {*ids(NUMBERS)}
    assert {"run.runs", "sweep plan.prices", "notes build.out"} <= {*ids(PATHS)}
    assert len(NUMBERS) > 20 and len(PATHS) > 35


@pytest.mark.parametrize(("name", "command", "parameter"), NUMBERS, ids=ids(NUMBERS))
def test_no_option_takes_a_number_that_nobody_can_use(
    name: str, command: Any, parameter: Any
) -> None:
    kind = int if int in kinds(parameter) else float
    for value in HOSTILE[kind]:
        with pytest.raises((ConfigError, typer.BadParameter)) as told:
            read(command, parameter, value)
        assert len(str(told.value)) < 6000


@pytest.mark.parametrize(("name", "command", "parameter"), PATHS, ids=ids(PATHS))
def test_every_path_is_expanded(
    name: str, command: Any, parameter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("STORE", "there")
    many = parameter.nargs == -1 or parameter.multiple
    for written, meant in [("~/a/b", tmp_path / "a/b"), ("${HOME}/$STORE", tmp_path / "there")]:
        found = read(command, parameter, [written] if many else written)
        assert (found[0] if many else found) == meant
    with pytest.raises(ConfigError, match=r"nobody has that name; write the path out"):
        read(command, parameter, ["~no_such_user/a"] if many else "~no_such_user/a")
    monkeypatch.setenv("HOME", str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match=r"~ in ~/a is no home: there is no folder .*gone"):
        read(command, parameter, ["~/a"] if many else "~/a")
    with pytest.raises(ConfigError, match=r"\$NOWHERE in \$NOWHERE/a is not set"):
        read(command, parameter, ["$NOWHERE/a"] if many else "$NOWHERE/a")


def test_a_place_that_is_text_is_expanded_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BUCKET", "research")
    found = {
        f"{name}.{parameter.name}": (command, parameter) for name, command, parameter in PARAMETERS
    }
    assert {*found} >= PLACES
    for place in PLACES:
        command, parameter = found[place]
        many = place == "query.paths"
        for written, meant in [("~/a", f"{tmp_path}/a"), ("s3://$BUCKET/a", "s3://research/a")]:
            value = read(command, parameter, [written] if many else written)
            assert value == ([meant] if many else meant), place


def test_the_example_of_a_search_in_the_help_of_set_can_be_read(root: Path) -> None:
    (option,) = [each for each in cli._load("plan").params if each.name == "overrides"]
    (example,) = re.findall(r"'(sweep\.search\..*)'", option.help)
    found = load_experiment(root / "experiments" / "demo.toml", [example]).sweep.search
    assert found["training.learning_rate"].type == "loguniform"


def test_a_command_says_which_option_is_at_fault(root: Path) -> None:
    file = str(root / "experiments" / "demo.toml")
    shown = CliRunner().invoke(cli.app, ["plan", file, "--step-s", "inf"])
    assert "--step-s: must be a finite number within" in str(shown.exception)
    shown = CliRunner().invoke(cli.app, ["sweep", "status", "x", "--runs=~no_such_user/x"])
    assert "--runs: ~no_such_user in ~no_such_user/x is no home" in str(shown.exception)
