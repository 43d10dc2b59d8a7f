"""The traces of an experiment: of its file, of its teacher, or of the corpus."""

from pathlib import Path

import pytest
from scripted_teacher import BY_ID, NOTES, build, good_reply, note, serving

from deepicd.config import parse_experiment
from deepicd.errors import DataError
from deepicd.traces import read_traces, write_experiment_traces
from deepicd.traces.card import card_path


def good(_: int, note_id: str) -> tuple[int, str]:
    return 200, good_reply(BY_ID[note_id])


def test_an_experiment_s_teacher_writes_its_traces_for_any_notes(tmp_path: Path) -> None:
    out = tmp_path / "traces.parquet"
    with serving(good) as teacher:
        table = {"sft": {"num_traces": 6}, "traces": {"url": teacher.url, "model": "m"}}
        rows = write_experiment_traces(parse_experiment(table, "here"), NOTES, out)
    assert len(rows) == 6 and read_traces(out) == rows and card_path(out).is_file()


def test_a_teacher_without_one_good_trace_ends_the_stage_with_its_reasons(tmp_path: Path) -> None:
    with serving(lambda *_: (200, "no")) as teacher:
        experiment = parse_experiment({"traces": {"url": teacher.url, "model": "m"}}, "here")
        with pytest.raises(
            DataError, match=r"none of the teacher's 96 replies .*does_not_parse 96"
        ):
            write_experiment_traces(experiment, NOTES, tmp_path / "t.parquet")


def test_a_file_with_traces_of_validation_patients_or_other_notes_is_refused(
    tmp_path: Path,
) -> None:
    out = tmp_path / "t.parquet"
    with serving(good) as teacher:
        build(teacher.url, out, num=24)
    table = {"sft": {"traces": str(out), "num_traces": 24}}
    experiment = parse_experiment(table, "here")
    assert len(write_experiment_traces(experiment, NOTES, tmp_path / "own.parquet")) == 24
    with pytest.raises(DataError, match="belongs to none of the training notes"):
        write_experiment_traces(experiment, NOTES[1:], tmp_path / "own.parquet")
    others = [note(0, "J189"), *NOTES[1:]]
    with pytest.raises(DataError, match="answers I2510, not the note's code"):
        write_experiment_traces(experiment, others, tmp_path / "own.parquet")


def test_switched_off_nothing_is_asked_and_no_trace_written(tmp_path: Path) -> None:
    with serving(good) as teacher:
        table = {"sft": {"is_enabled": False}, "traces": {"url": teacher.url, "model": "m"}}
        out = tmp_path / "t.parquet"
        assert write_experiment_traces(parse_experiment(table, "here"), NOTES, out) == []
        assert read_traces(out) == [] and not teacher.asked
