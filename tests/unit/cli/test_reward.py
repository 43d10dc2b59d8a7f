"""`deepicd reward`: total, parts and why."""

import json

import adversarial as cases
import pytest
from typer import Typer
from typer.testing import CliRunner

from deepicd.answers import parse_answer
from deepicd.cli.reward import command
from deepicd.rewards import build_reward


def total(preset, text, gold="I2510", note=None):
    return build_reward(preset)(parse_answer(text), gold, note).total


def run(*arguments):
    app = Typer()
    app.command()(command)
    return CliRunner().invoke(app, list(arguments))


def test_command_prints_total_parts_and_why(tmp_path):
    note = tmp_path / "note.txt"
    note.write_text(cases.NOTE)
    options = (
        "--gold",
        "I25.10",
        "--answer",
        cases.HONEST["same block"],
        "--note",
        str(note),
    )
    table = json.loads(run(*options, "--json").stdout)
    assert table["total"] == pytest.approx(0.29)
    assert table["code"] == "I214"
    assert run(*options).stdout.splitlines()[-1] == "total   0.29"
    explained = run(*options, "--explain").stdout
    assert "2 of 5 nodes" in explained and "hierarchy: 0.4 x 0.35 = 0.14" in explained
    bad = run("--gold", "I25.10", "--answer", "hm", "--explain", "--preset", "strict").stdout
    assert "no usable code (truncated)" in bad and "fault   truncated: the text ends" in bad


def test_command_refuses_a_missing_note():
    result = run("--gold", "I10", "--answer", "x", "--note", "/nonexistent/note.txt")
    assert "no note at /nonexistent/note.txt" in str(result.exception)
