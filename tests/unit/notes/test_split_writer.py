"""Parts of notes → split files in the order that was asked for."""

from pathlib import Path

import numpy as np
import pytest
from note_rows import note_of

from deepicd.notes import identity, read_split, split_files, split_writer


@pytest.mark.parametrize("rows_per_bucket", [3, 1000])
def test_rows_of_any_parts_are_written_in_the_order_that_is_asked_for(
    tmp_path: Path, rows_per_bucket: int
) -> None:
    notes = [note_of(number) for number in range(40)]
    split_files.write_split(notes[:25], tmp_path / "a")
    split_files.write_split(notes[25:], tmp_path / "b")
    positions = np.full(39, -1)  # the last row goes nowhere too
    kept = [row for row in range(39) if row != 7]
    positions[kept] = np.random.default_rng(1).permutation(38)
    places = {"a": positions[:25], "b": positions[25:]}
    wanted = [notes[row] for row in sorted(kept, key=lambda row: positions[row])]
    sizes = {"train": 20, "test": 18}
    hashes = split_writer.write_splits(
        tmp_path, places, sizes=sizes, rows_per_bucket=rows_per_bucket, out=tmp_path
    )
    read = [note for name in sizes for note in read_split(tmp_path / f"{name}.parquet")]
    assert read == wanted
    for name in sizes:
        assert identity.hash_split(tmp_path / f"{name}.parquet") == hashes[name]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a", "b", "test.parquet", "train.parquet",
    ]  # fmt: skip
