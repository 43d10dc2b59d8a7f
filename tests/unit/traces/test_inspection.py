"""`deepicd traces check` and `show`: what is wrong with a file, and what is in it."""

import json
from pathlib import Path
from typing import Any

import pytest
from scripted_teacher import BY_ID, NOTES, PHRASE, build, findings, good_reply, serving
from typer.testing import CliRunner

from deepicd import cli
from deepicd.errors import ConfigError, DataError
from deepicd.notes.split_files import write_split
from deepicd.traces import read_traces, write_traces
from deepicd.traces.card import card_path
from deepicd.traces.inspection import describe_file, read_row


def call(*words: str | Path) -> Any:
    return CliRunner().invoke(cli.app, list(map(str, words)))


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """Eight traces of a teacher, beside their notes."""
    write_split(NOTES, tmp_path / "notes" / "train.parquet")
    out = tmp_path / "traces.parquet"
    with serving(lambda _, note_id: (200, good_reply(BY_ID[note_id]))) as teacher:
        build(teacher.url, out)
    return out


def test_sound_traces_pass(traces: Path) -> None:
    done = call("traces", "check", traces, "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {
        "num_traces": 8,
        "faults": {},
        "card": "fits",
        "is_sound": True,
    }


def test_each_broken_trace_is_counted_by_what_it_breaks(traces: Path) -> None:
    rows = read_traces(traces)
    rows[0] |= {"note_id": "other"}
    rows[1] |= {"patient_id": "other"}
    rows[2] |= {"response": "Cough.</think>\n<diagnosis>A00.0</diagnosis>"}
    rows[3] |= {"response": rows[3]["response"].replace("I read of", "The given code tells of")}
    rows[4] |= {"response": "Cough"}
    write_traces([*rows, rows[5]], traces)
    done = call("traces", "check", traces, "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert found["faults"] == {
        "does_not_parse": 1,
        "near_duplicate": 1,
        "other_code": 1,
        "other_note": 2,
        "speaks_of_answer": 1,
    }
    assert "was changed after its card was written" in found["card"]


def test_traces_without_a_card_are_held_to_what_every_trace_keeps_to(traces: Path) -> None:
    card_path(traces).unlink()
    rows = read_traces(traces)
    rows[3] |= {"response": rows[3]["response"].replace("I read of", "The given code tells of")}
    write_traces(rows, traces)
    done = call("traces", "check", traces)
    assert done.exit_code == 0 and "card: none" in done.stdout


def test_counts_are_shown_without_a_word_of_a_note(traces: Path) -> None:
    done = call("traces", "show", traces)
    assert done.stdout.startswith("8 traces of 8 patients, 4 codes, ")
    assert "IX          2 of      2 accepted" in done.stdout
    assert PHRASE not in done.stdout and findings(0)[0] not in done.stdout


def test_a_trace_is_shown_where_its_text_is_asked_for(traces: Path) -> None:
    with pytest.raises(ConfigError, match="a trace tells of a patient and is not printed"):
        read_row(traces, 0, is_text_shown=False)
    done = call("traces", "show", traces, "--row", "0", "--show-text", "--json")
    assert json.loads(done.stdout) == read_traces(traces)[0]
    with pytest.raises(ConfigError, match="--row must be from 0 to 7"):
        read_row(traces, 8, is_text_shown=True)


def test_a_card_that_is_none_is_an_error(traces: Path) -> None:
    card_path(traces).write_text("{}")
    with pytest.raises(DataError, match="is no card of traces of this version"):
        describe_file(traces)
