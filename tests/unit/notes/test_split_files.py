"""Split files: written, read back, refused."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from note_rows import note_of

from deepicd.errors import ConfigError, DataError, MissingError
from deepicd.notes import read_note, read_split, split_files


def test_a_split_survives_the_file_in_order(tmp_path: Path) -> None:
    notes = [replace(note_of(3), sex="F"), note_of(1), note_of(2)]
    split_files.write_split(notes, tmp_path / "train.parquet")
    assert read_split(tmp_path / "train.parquet") == notes


def test_the_first_notes_of_a_split_are_those_that_come_first(tmp_path: Path) -> None:
    notes = [note_of(number) for number in range(5)]
    split_files.write_split(notes, tmp_path / "train.parquet")
    assert split_files.read_first(tmp_path / "train.parquet", 3) == notes[:3]
    assert split_files.read_first(tmp_path / "train.parquet", 9) == notes
    with pytest.raises(MissingError, match="no split at"):
        split_files.read_first(tmp_path / "none.parquet", 3)


def test_missing_and_foreign_split_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no split at .*deepicd notes build"):
        read_split(tmp_path / "none.parquet")
    foreign = tmp_path / "x.parquet"
    pa.parquet.write_table(pa.table({"a": [1]}), foreign)
    with pytest.raises(DataError, match="is not a split of notes"):
        read_split(foreign)


def test_text_of_a_credentialed_source_is_not_shown_unasked(tmp_path: Path) -> None:
    split_files.write_split([note_of(1)], tmp_path / "train.parquet")
    (tmp_path / "report.json").write_text('{"source": "mimic"}')
    with pytest.raises(ConfigError, match="are patients' and not printed; add --show-text"):
        read_note(tmp_path, "train", row=0, is_text_shown=False)
    assert read_note(tmp_path, "train", row=0, is_text_shown=True)["note_id"] == "n0001"
    with pytest.raises(ConfigError, match="row must be from 0 to 0"):
        read_note(tmp_path, "train", row=1, is_text_shown=True)
    with pytest.raises(ConfigError, match="unknown split 'dev'"):
        read_note(tmp_path, "dev", row=0, is_text_shown=True)


def test_notes_of_patients_with_a_trace_are_left_out_in_the_order_of_the_split(
    tmp_path: Path,
) -> None:
    train, rest = tmp_path / "train.parquet", tmp_path / "train_grpo.parquet"
    notes = [replace(note_of(number), patient_id=f"p{number % 3}") for number in range(9)]
    split_files.write_split(notes, train)
    assert split_files.leave_out_patients(train, {"p1", "nobody"}, rest) == 6
    assert read_split(rest) == [note for note in notes if note.patient_id != "p1"]
    assert split_files.leave_out_patients(train, set(), rest) == 9
    before = rest.read_bytes()
    with pytest.raises(DataError, match=r"every patient of .* has a trace"):
        split_files.leave_out_patients(train, {"p0", "p1", "p2"}, rest)
    assert rest.read_bytes() == before and len(list(tmp_path.iterdir())) == 2
