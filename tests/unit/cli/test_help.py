"""The help of every command and of every group holds examples, and each of them can be read."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepicd import cli
from deepicd.cli import COMMANDS


def walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """A command or group by its whole name, and all that are below it."""
    yield name, command
    for word, child in getattr(command, "commands", {}).items():
        yield from walk(child, f"{name} {word}")


ALL = [("", cli.typer.main.get_command(cli.app))] + [
    row for noun in COMMANDS for row in walk(cli._load(noun), noun)
]


def examples(command: Any) -> list[list[str]]:
    """Words of each example; one may go on in the next line, as far as an empty one."""
    text = f"{command.help or ''}\n\n{command.epilog or ''}"
    found = re.findall(r"^(?:Example: )?deepicd (\S.*(?:\n\S.*)*)$", text, re.MULTILINE)
    return [shlex.split(each.split(" > ")[0].replace("\n", " ")) for each in found]


def read(words: list[str]) -> str:
    """Name of the command that the words call, whose options they are read by."""
    command, arguments, name = cli._load(words[0]), words[1:], words[0]
    while hasattr(command, "commands"):
        context = command.make_context(name, arguments, resilient_parsing=True)
        called, command, arguments = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        assert command is not None, f"No such command: {words}"
        name = f"{name} {called}"
    command.make_context(name, arguments)  # reads the options as the command itself does
    return name


def test_the_whole_tree_is_walked_over() -> None:
    names = {name for name, _ in ALL}
    assert {"", "run", "sweep", "sweep report", "codes", "cluster check"} <= names
    assert len(names) > 45


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name or "deepicd" for name, _ in ALL])
def test_help_has_an_example_that_calls_the_command_itself(name: str, command: Any) -> None:
    shown = examples(command)
    assert shown, f"deepicd {name} --help shows no example"
    for words in shown:
        called = "sweep plan" if name == "sweep plan" and words[0] == "plan" else read(words)
        assert f"{called} ".startswith(f"{name} " if name else ""), words


def test_what_an_example_takes_from_the_repository_is_there(root: Path) -> None:
    words = {word for _, command in ALL for example in examples(command) for word in example}
    named = {word for word in words if word.startswith(("experiments/", "cluster/"))}
    assert {"experiments/demo.toml", "cluster/local.yaml"} <= named
    assert not [name for name in named if not (root / name).is_file()]


@pytest.mark.parametrize(
    "words", ["sweep report first --aut x.html", "registry list", "evaluate only_one", "notes bild"]
)
def test_an_example_that_would_not_run_is_found(words: str) -> None:
    with pytest.raises(Exception, match=r"No such (option|command)|Missing parameter"):
        read(shlex.split(words))
