"""Files of commands hold short commands only; what is logic lies in a room below."""

import ast
from pathlib import Path

import pytest

import deepicd.cli
from deepicd.cli import COMMANDS

MAX_LINES = 15
FOLDER = Path(deepicd.cli.__file__).parent
BESIDE = {"__init__.py", "console.py", "options.py", "text.py", "traces_text.py"}
"""Start-up, options that commands share, and how outcomes are printed."""
FILES = [str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.py") if path.name not in BESIDE]


def functions(file: str) -> list[ast.FunctionDef]:
    tree = ast.parse((FOLDER / file).read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def is_command(function: ast.FunctionDef) -> bool:
    decorators = [ast.unparse(each) for each in function.decorator_list]
    is_registered = any(each.startswith(("app.command(", "app.callback(")) for each in decorators)
    return is_registered or function.name == "command"


def num_lines(function: ast.FunctionDef) -> int:
    """Lines of the body, without the docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_every_file_of_the_folder_is_one_of_commands_or_prints() -> None:
    assert sorted(Path(file).stem for file in FILES) == sorted(COMMANDS)


@pytest.mark.parametrize("file", FILES)
def test_a_file_of_commands_holds_nothing_but_short_commands(file: str) -> None:
    assert functions(file)
    for function in functions(file):
        assert is_command(function), f"{function.name} is no command"
        lines = num_lines(function)
        assert lines <= MAX_LINES, f"{function.name} has {lines} lines"


def test_a_long_command_and_a_helper_are_found() -> None:
    long = ast.parse("@app.command()\ndef a():\n    'Help.'\n" + "    x = 1\n" * 16).body[0]
    helper = ast.parse("def helper():\n    return 1").body[0]
    assert isinstance(long, ast.FunctionDef) and isinstance(helper, ast.FunctionDef)
    assert num_lines(long) == 16 and is_command(long)
    assert not is_command(helper)
