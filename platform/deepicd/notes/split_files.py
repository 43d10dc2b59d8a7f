"""Split files: read, written, and filtered to the notes that GRPO trains on.

In: a folder or file of a build. Out: `Note` rows, in the file's order. Decided here: the SFT
start has seen the notes of its traces with their answers; a reward on them, or on other notes of
the same patients, would pay for memorising, so `leave_out_patients` writes a split without them.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from deepicd.errors import ConfigError, DataError, MissingError
from deepicd.files import replaced_file
from deepicd.notes.build_report import read_build_report
from deepicd.notes.id_columns import is_missing
from deepicd.notes.mimic.columns import COLUMNS
from deepicd.notes.split_writer import ROWS_PER_GROUP, SCHEMA
from deepicd.paths import SPLITS
from deepicd.records import Note

_ANEW = "Build it anew: deepicd notes build --out DIR"


def write_split(notes: Sequence[Note], path: Path) -> None:
    """Write notes as Parquet, in order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: [getattr(note, name) for note in notes] for name in COLUMNS}
    pq.write_table(pa.table(columns, schema=SCHEMA), path, row_group_size=ROWS_PER_GROUP)


def read_split(path: Path) -> list[Note]:
    """Notes of one split, in the file's order.

    Raises MissingError when there is no such file, DataError when it is not a split of notes.
    """
    if not path.exists():
        raise MissingError(f"no split at {path}; build it first: deepicd notes build --out DIR")
    try:
        rows = pq.read_table(path, columns=list(COLUMNS)).to_pylist()
        return [Note(**row) for row in rows]
    except (pa.ArrowException, OSError, TypeError) as error:
        raise DataError(
            f"{path} is not a split of notes ({type(error).__name__}); it needs the columns "
            f"{', '.join(COLUMNS)}. Build it anew: deepicd notes build --out DIR"
        ) from None


def read_batches(path: Path, columns: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Columns of one split as text, batch after batch; none of them is empty.

    Raises:
        MissingError: no such file.
        DataError: it is no split of notes, or a row lacks a value; names the column.
    """
    if not path.exists():
        raise MissingError(f"no split at {path}; build it first: deepicd notes build --out DIR")
    try:
        rows = pads.dataset(path, format="parquet")
        for batch in rows.to_batches(columns=list(columns), batch_size=batch_rows):
            # Parquet may hold bytes that are no text in a column of text.
            batch.validate(full=True)
            if batch.num_rows:
                yield pa.record_batch({name: _text(batch[name], name, path) for name in columns})
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is not a split of notes ({type(error).__name__}); it needs the columns "
            f"{', '.join(columns)}. {_ANEW}"
        ) from None


def _text(values: pa.Array, name: str, path: Path) -> pa.Array:
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DataError(f"{path}: column {name} is of type {kind}; it must be text. {_ANEW}")
    text = values.cast(pa.string())
    missing = is_missing(text) if name.endswith("_id") else pc.is_null(text)
    if number := pc.sum(missing).as_py():
        raise DataError(f"{path}: column {name} lacks a value in {number} rows of a batch. {_ANEW}")
    return text


def read_first(path: Path, num_notes: int) -> list[Note]:
    """The first notes of a split; it is not read to its end.

    Raises MissingError when there is no such file.
    """
    if not path.exists():
        raise MissingError(f"no split at {path}; build it first: deepicd notes build --out DIR")
    rows = pads.dataset(path, format="parquet")
    # pyarrow reads whole batches, of 131,072 rows unless told otherwise.
    first = rows.head(num_notes, columns=list(COLUMNS), batch_size=num_notes)
    return [Note(**row) for row in first.to_pylist()]


def read_note(folder: Path, split: str, *, row: int, is_text_shown: bool) -> dict[str, Any]:
    """One note of a build as a dict.

    Raises ConfigError for an unknown split or row, and where the text of a credentialed source
    would be shown without `is_text_shown`.
    """
    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")
    source = read_build_report(folder)["source"]
    if source != "embedded" and not is_text_shown:
        raise ConfigError(
            f"notes of source {source!r} are patients' and not printed; add --show-text where "
            "nobody reads over your shoulder and nothing is logged."
        )
    notes = read_split(folder / f"{split}.parquet")
    if not 0 <= row < len(notes):
        raise ConfigError(f"row must be from 0 to {len(notes) - 1} in {split}; got {row}")
    return asdict(notes[row])


def leave_out_patients(split: Path, patients: Collection[str], out: Path) -> int:
    """Write the rows of a split whose patient is not among `patients`, in its order.

    Returns:
        Number of notes written.

    Raises:
        DataError: none is left; nothing is written.
    """
    notes = pq.read_table(split)
    # The type is named, because an empty list of patients has none.
    is_known = pc.is_in(notes["patient_id"], value_set=pa.array(sorted(patients), pa.string()))
    rest = notes.filter(pc.invert(is_known))
    if not rest.num_rows:
        raise DataError(
            f"every patient of {split} has a trace, so no note is left for GRPO; lower "
            "sft.num_traces or build more notes"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with replaced_file(out) as aside:
        pq.write_table(rest, aside)
    return int(rest.num_rows)
