"""`deepicd reward`: total, parts and why."""

import json

import adversarial as cases
import pytest
from typer.testing import CliRunner

from deepicd.answers import parse_answer
from deepicd.cli.reward import app
from deepicd.rewards import build_reward


def total(preset, text, gold="I2510", note=None):
    return build_reward(preset)(parse_answer(text), gold, note).total


def run(*arguments):
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


def test_the_verb_may_be_left_out_and_help_is_the_groups():
    options = ("--gold", "I10", "--answer", "x</think><diagnosis>I10</diagnosis>")
    assert run(*options).stdout == run("show", *options).stdout
    assert "attack" in run("--help").stdout
    assert "Missing option '--gold'" in run("--answer", "x").output


def test_an_attack_ends_with_1_where_it_finds_something(root):
    demo = ("attack", str(root / "experiments" / "demo.toml"), "--notes", "2", "--json")
    honest = run(*demo)
    assert honest.exit_code == 0
    found = json.loads(honest.stdout)
    assert found["found"] == [] and found["honest_best"] == pytest.approx(1)
    hackable = run(*demo, "--set", 'rewards.preset="reference"', "--set", "sweep.search={}")
    assert hackable.exit_code == 1
    first = json.loads(hackable.stdout)["found"][0]
    assert {"answer", "total", "parts", "why"} <= first.keys()
    assert first["by"] == ["reference_match"] and "reference_match" in first["why"]


def test_an_attack_prints_no_text_of_a_note_unless_it_is_asked_for(root):
    demo = ("attack", str(root / "experiments" / "demo.toml"), "--notes", "2")
    bad = ("--set", 'rewards.preset="reference"', "--set", "sweep.search={}")
    assert "[reasoning]" in run(*demo, *bad).stdout
    assert "[reasoning]" not in run(*demo, *bad, "--show-text").stdout


def test_sensitivity_says_who_passes_whom_and_where(root):
    demo = ("sensitivity", str(root / "experiments" / "demo.toml"), "--notes", "4")
    table = json.loads(run(*demo, "--json").stdout)["weights"]
    addresses = ["rewards.weights.outcome", "rewards.weights.hierarchy"]
    assert [weight["address"] for weight in table] == addresses
    assert table[1]["low"] == 0 and table[1]["high"] == 1 and table[1]["ranking"][1]
    one = table[1]["crossings"][0]
    shown = run(*demo).stdout
    assert f"above {one['at']:.4g} {one['rises']} passes {one['falls']}" in shown
