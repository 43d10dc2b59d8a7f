"""The command's outer wall: start-up stays light, errors become one line and an exit code."""

import json
import os
import subprocess
import sys

import pytest

from deepicd.cli import COMMANDS
from deepicd.errors import CapacityError, DeepICDError

HEAVY = ("ray", "torch", "transformers", "verl", "vllm", "optuna", "plotly", "pandas")

RUN = """
import contextlib, io, json, sys
from deepicd.cli import main
for arguments in {commands!r}:
    sys.argv = ["deepicd", *arguments]
    shown, before = io.StringIO(), set(sys.modules)
    with contextlib.redirect_stdout(shown):
        try:
            main()
        except SystemExit as done:
            code = done.code
    heavy = sorted(set({heavy!r}) & (set(sys.modules) - before))
    print(json.dumps({{"shown": shown.getvalue(), "code": code, "heavy": heavy}}))
"""

NOUN = """
import sys, types
import deepicd.cli
from deepicd import errors
def command(text: str = "") -> None:
    {body}
deepicd.cli.COMMANDS["trial-noun"] = "Only in this test."
sys.modules["deepicd.cli.trial-noun"] = types.SimpleNamespace(command=command)
sys.argv = ["deepicd", *{arguments!r}]
deepicd.cli.main()
"""


def python(source, **env):
    command = [sys.executable, "-c", source]
    environment = {**os.environ, **env}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture(scope="module")
def helps():
    """Noun, or "" for the command itself → what its help shows, its exit code, and what of `HEAVY`
    it imports; all in one process, in which what one imports is not counted for the next.
    """
    commands = [[*noun.split(), "--help"] for noun in ("", *COMMANDS)]
    done = python(RUN.format(commands=commands, heavy=HEAVY))
    assert done.stdout, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(zip(("", *COMMANDS), rows, strict=True))


def test_help_lists_every_noun_and_imports_nothing_heavy(helps):
    shown = helps[""].pop("shown")
    assert helps[""] == {"code": 0, "heavy": []}
    for noun in COMMANDS:
        assert noun in shown


@pytest.mark.parametrize("noun", COMMANDS)
def test_the_help_of_a_noun_imports_nothing_heavy(helps, noun):
    shown = helps[noun].pop("shown")
    assert helps[noun] == {"code": 0, "heavy": []}
    assert "Usage: deepicd" in shown


def test_an_unknown_noun_names_the_nearest_and_exits_2():
    done = subprocess.run(
        [sys.executable, "-m", "deepicd", "sweeep"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "'sweep'" in done.stderr


def run_noun(body, *arguments, **env):
    return python(NOUN.format(body=body, arguments=[*arguments, "trial-noun"]), **env)


def test_a_deliberate_error_is_one_line_on_stderr_and_its_exit_code():
    done = run_noun("raise errors.CapacityError('2 slots are too few; give 4')")
    assert done.returncode == CapacityError.exit_code
    assert done.stderr == "deepicd: 2 slots are too few; give 4\n"
    assert done.stdout == ""


def test_debug_shows_the_traceback():
    body = "raise errors.CapacityError('2 slots are too few; give 4')"
    for done in (run_noun(body, "--debug"), run_noun(body, DEEPICD_DEBUG="1")):
        assert "Traceback" in done.stderr and "CapacityError: 2 slots" in done.stderr


def test_a_fault_of_ours_keeps_its_traceback():
    done = run_noun("raise RuntimeError('a bug')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_an_interrupt_exits_130_without_traceback():
    done = run_noun("raise KeyboardInterrupt")
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


def children(kind):
    return [kind, *(found for child in kind.__subclasses__() for found in children(child))]


def test_no_error_shares_the_exit_codes_of_success_or_interruption():
    assert {kind.exit_code for kind in children(DeepICDError)}.isdisjoint({0, 130})
