"""Cut notes in Parquet parts → one Parquet file a split, in a given order, in bounded memory.

In: the parts that `mimic` wrote, and where each of their rows is to go. Out: the split files and
the hash of their content. Decided here: rows first go to buckets of neighbouring positions on disk,
then each bucket is sorted in memory and appended; so the order is any permutation, and no more than
a bucket and a batch is held at once. The hash is over values, not over bytes of the file: another
version of Parquet's writer gives the same.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from deepicd.notes.mimic.columns import COLUMNS

ROWS_PER_GROUP = 2048
"""Rows of one Parquet row group: the unit in which trainers stream."""

_BUCKET_CHARACTERS = 32 << 20
"""Text of a bucket, about."""

SCHEMA = pa.schema([(name, pa.string()) for name in COLUMNS])
"""Of a split file: every column is text."""

_Positions = Mapping[str, NDArray[np.int64]]
"""Part → position of each of its rows, counted over all splits one after the other; a row with -1,
or left out at the end, goes nowhere."""


def write_splits(
    source: Path,
    positions: _Positions,
    *,
    sizes: Mapping[str, int],
    rows_per_bucket: int,
    out: Path,
) -> dict[str, str]:
    """Write `out/SPLIT.parquet` for each of `sizes` (split → number of rows, in order).

    `source` is left without the buckets that were written into it. Returns split → `hash_rows`.
    """
    starts = np.cumsum([0, *sizes.values()])
    # Buckets begin anew with each split, so that none belongs to two.
    edges = [
        edge
        for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
        for edge in range(start, end, rows_per_bucket)
    ]
    _fill_buckets(source, positions, np.array(edges, np.int64))
    hashes = {}
    for name, start, end in zip(sizes, starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        buckets = [number for number, edge in enumerate(edges) if start <= edge < end]
        hasher = hashlib.sha256()
        with pq.ParquetWriter(out / f"{name}.parquet", SCHEMA) as writer:
            for rows in _sorted_buckets(source, buckets):
                writer.write_table(rows, row_group_size=ROWS_PER_GROUP)
                hash_rows(rows, hasher)
        hashes[name] = hasher.hexdigest()
    return hashes


def hash_rows(rows: pa.Table, hasher: Any) -> None:
    """Add the values of `COLUMNS` to a hash, row after row."""
    values = (rows[name].to_pylist() for name in COLUMNS)
    for row in zip(*values, strict=True):
        hasher.update(repr(row).encode())  # repr tells a missing value from the text "None"


def bucket_rows(num_characters: int, num_rows: int) -> int:
    """Rows of a bucket of about `_BUCKET_CHARACTERS`: whole row groups."""
    mean = max(1.0, num_characters / max(1, num_rows))
    return max(1, round(_BUCKET_CHARACTERS / mean / ROWS_PER_GROUP)) * ROWS_PER_GROUP


def _fill_buckets(source: Path, positions: _Positions, edges: NDArray[np.int64]) -> None:
    """Append each row, with its position, to the bucket that its position falls into."""
    schema = SCHEMA.append(pa.field("position", pa.int64()))
    with ExitStack() as stack:
        writers = [
            stack.enter_context(pa.ipc.new_stream(_bucket(source, number), schema))
            for number in range(len(edges))
        ]
        for name, of_rows in sorted(positions.items()):
            for rows in _read_part(source / name, of_rows):
                # The last bucket that begins at this position or before it.
                numbers = np.searchsorted(edges, rows["position"].to_numpy(), "right") - 1
                for number in np.unique(numbers).tolist():
                    writers[number].write_table(rows.filter(pa.array(numbers == number)))


def _read_part(path: Path, positions: NDArray[np.int64]) -> Iterator[pa.Table]:
    """Rows of a part that go somewhere, in pieces, with their position."""
    start = 0
    for batch in pq.ParquetFile(path).iter_batches(ROWS_PER_GROUP, columns=list(COLUMNS)):
        listed = positions[start : start + batch.num_rows]
        position = np.full(batch.num_rows, -1, np.int64)
        position[: len(listed)] = listed
        start += batch.num_rows
        rows = pa.Table.from_batches([batch]).append_column("position", pa.array(position))
        yield rows.filter(pc.greater_equal(position, 0))


def _sorted_buckets(source: Path, numbers: list[int]) -> Iterator[pa.Table]:
    """Buckets in order, each sorted by position; its file is removed."""
    for number in numbers:
        path = _bucket(source, number)
        with path.open("rb") as file:
            rows = pa.ipc.open_stream(file).read_all()
        path.unlink()
        yield rows.sort_by("position").select(list(COLUMNS))


def _bucket(source: Path, number: int) -> Path:
    return source / f"bucket-{number:05}"
