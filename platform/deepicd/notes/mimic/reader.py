"""MIMIC-IV tables → cut notes in Parquet files, and one row an admission with why it is left out.

In: a folder that holds `note/` and `hosp/`. Out: files with `COLUMNS`, and an Arrow table of
`CUT_COLUMNS` sorted by note id, without text. Decided here: the label is the diagnosis with
`seq_num == 1` and `icd_version == 10` (billing priority: a noisy target); of several summaries of
an admission the first counts, addenda do not. The short tables are read into memory and joined to
every block of notes; the notes stream through Ray Data, each worker writes what it cut to a file,
and only ids, codes and digests come back: memory is bounded by blocks, not by the corpus.

No text and no identifier of a row is put into an error: MIMIC-IV is credentialed.
"""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from deepicd.clusters.ray_session import ray_session
from deepicd.errors import DataError, DeepICDError, Fault, faults_of
from deepicd.notes.id_columns import ROW, check_ids, check_unique, drop_missing
from deepicd.notes.mimic.admission_facts import (
    NOT_LOOKED_AT,
    NOTE_IDS,
    AdmissionFacts,
    principal_diagnoses,
)
from deepicd.notes.mimic.columns import COLUMNS, CUT_COLUMNS, CUT_SCHEMA
from deepicd.notes.mimic.kinds import check_kinds
from deepicd.notes.mimic.late_passages import PASSAGES, write_passages
from deepicd.notes.mimic.row_checks import check_owners, mark_repeats
from deepicd.notes.mimic.tables import IDS, check_columns, find_table, has_column, read_batches
from deepicd.notes.mimic.year_columns import check_years

_OBJECT_STORE_BYTES = 160 << 20
"""Ray's object store where a build starts Ray itself: blocks pass through it, nothing stays."""

_BLOCK_BYTES = 8 << 20
"""Text that a worker holds at once, about."""

_NOTES = "note/discharge"
_NOTE_COLUMNS = (*NOTE_IDS, "text")
_SHORT = {
    "hosp/diagnoses_icd": ("hadm_id", "seq_num", "icd_code", "icd_version"),
    "hosp/admissions": ("hadm_id", "subject_id", "race", "insurance"),
    "hosp/patients": ("subject_id", "gender", "anchor_age"),
}
_ONCE = {
    "hosp/diagnoses_icd": "an admission has one diagnosis with seq_num 1",
    "hosp/admissions": "an admission has one row",
    "hosp/patients": "a patient has one row",
}
"""What may not repeat in the first column of a short table."""
_OPTIONAL = {"hosp/admissions": ("admittime",), "hosp/patients": ("anchor_year",)}
"""Columns that MIMIC-IV has and a table in its layout may lack; null where it does."""
_TABLES = {_NOTES: _NOTE_COLUMNS, **_SHORT}
_BATCH_ROWS = 1024


class Cutter(Protocol):
    """What makes cut notes of a piece of a source."""

    def to_rows(self, notes: pa.Table) -> pa.Table:
        """Rows of a source as `columns.ROWS_SCHEMA`."""
        ...


def cut_notes(root: Path, folder: Path) -> pa.Table:
    """Cut all notes under `root` into Parquet files in `folder` (`COLUMNS`; dropped ones with an
    empty text).

    `folder` must be one that every worker can write to; it is made.

    Returns:
        `CUT_COLUMNS` of every note, sorted by note id.

    Raises:
        MissingError: a table is not there.
        DataError: a column is missing, a file is broken, note ids or principal diagnoses repeat,
            most principal diagnoses are in no release of ICD-10-CM, most notes are no English
            summaries, or `note/` and `hosp/` are of different releases.
    """
    paths = {name: _find_checked(root, name) for name in _TABLES}
    short = {name: _read_short(paths[name], name) for name in _SHORT}
    labels = principal_diagnoses(short["hosp/diagnoses_icd"], paths["hosp/diagnoses_icd"])
    facts = AdmissionFacts(labels, short["hosp/admissions"], short["hosp/patients"])
    rows = stream_notes(partial(read_notes, paths[_NOTES]), facts, folder, path=paths[_NOTES])
    check_owners(rows, short["hosp/admissions"], paths[_NOTES])
    check_kinds(looked_at(rows), paths[_NOTES])
    return mark_repeats(rows.sort_by("note_id"))


def table_faults(root: Path) -> Iterator[Fault]:
    """What the tables under `root` lack by their names and headers; no row is read. A table that is
    not there is missing, one with other columns is wrong.
    """
    for name in _TABLES:
        yield from faults_of(partial(_find_checked, root, name), "data.root", str(root))


def _find_checked(root: Path, name: str) -> Path:
    path = find_table(root, name)
    check_columns(path, _TABLES[name])
    return path


def looked_at(rows: pa.Table) -> list[str]:
    """Kinds of the notes whose text was read."""
    return [kind for kind in rows["kind"].to_pylist() if kind != NOT_LOOKED_AT]


def write_cut(rows: pa.Table, folder: Path) -> pa.Table:
    """Write one block of cut notes; returns its `CUT_COLUMNS`.

    The name of the file follows from the notes, so a worker that tries again writes the same file.
    """
    ids = pc.fill_null(rows["note_id"], "").to_pylist()
    # Not a random name: a second attempt after a lost worker must not leave the notes twice.
    name = blake2b("\n".join(ids).encode(), digest_size=16).hexdigest()
    pq.write_table(rows.select(list(COLUMNS)), folder / name, row_group_size=_BATCH_ROWS)
    write_passages(rows, folder / PASSAGES, name)
    columns = {
        **{column: rows[column] for column in rows.column_names if column in CUT_COLUMNS},
        "digest": pa.array([_digest(text) for text in rows["text"].to_pylist()], pa.int64()),
        "num_characters": pc.utf8_length(rows["text"]).cast(pa.int64()),
        "part": pa.array([name] * rows.num_rows, pa.string()),
        "row": pa.array(range(rows.num_rows), pa.int64()),
    }
    return pa.table({column: columns[column] for column in CUT_COLUMNS}).cast(CUT_SCHEMA)


def stream_notes(
    read: Callable[[], Iterator[pa.Table]], cutter: Cutter, folder: Path, *, path: Path
) -> pa.Table:
    """Cut notes block by block on Ray into files in `folder`, which is made.

    Args:
        read: gives the notes piece by piece; travels to the task that reads.
        cutter: makes `ROWS_SCHEMA` of a piece.
        folder: one that every worker can write to.
        path: where the notes are from, for messages.

    Returns:
        `CUT_COLUMNS` of every note, in no order.

    Raises:
        DeepICDError: what `read` refused.
    """
    import ray
    from ray.data import DataContext

    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.target_max_block_size = _BLOCK_BYTES
    context.raise_original_map_exception = True  # else what the task refused does not come back
    # It logs its plan on the screen, and once more every error that is raised here anyway.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    folder.mkdir(parents=True)
    folder = folder.resolve()
    with ray_session(object_store_memory=_OBJECT_STORE_BYTES), DataContext.current(context):
        # Once into the object store, and not with each task.
        shared = ray.put(cutter)

        def cut_block(block: pa.Table) -> pa.Table:  # in pieces: a worker stays small
            cutter = ray.get(shared)
            starts = range(0, block.num_rows, _BATCH_ROWS)
            pieces = (block.slice(start, _BATCH_ROWS) for start in starts)
            done = [write_cut(cutter.to_rows(piece), folder) for piece in pieces]
            # Arrow keeps freed memory: a worker would stay as large as its largest block.
            pa.default_memory_pool().release_unused()
            return pa.concat_tables([CUT_SCHEMA.empty_table(), *done])

        try:
            rows = _stream(read).map_batches(
                cut_block, batch_format="pyarrow", batch_size=None, zero_copy_batch=True
            )
            blocks = list(rows.iter_batches(batch_size=None, batch_format="pyarrow"))
        except (ray.exceptions.RayError, pa.ArrowException, OSError, ValueError) as error:
            raise _explain(error, path) from None
    filled = [block.cast(CUT_SCHEMA) for block in blocks if block.num_rows]
    return pa.concat_tables(filled) if filled else CUT_SCHEMA.empty_table()


def read_notes(path: Path) -> Iterator[pa.Table]:
    """The notes table piece by piece, its ids checked; an admission may be missing.

    Raises:
        DataError: the table cannot be read, or an id is missing, none, or repeats; names the row.
    """
    seen: set[str] = set()
    for piece in read_batches(path, _NOTE_COLUMNS, text="text"):
        check_ids(piece, ("note_id", "subject_id"), path)
        admissions = drop_missing(piece["hadm_id"])
        has_admission = pc.is_valid(admissions)
        check_ids(piece.filter(has_admission), ("hadm_id",), path)
        check_unique(piece, "note_id", path, rule="a note has one row", seen=seen)
        index = piece.schema.get_field_index("hadm_id")
        yield piece.set_column(index, "hadm_id", admissions).drop_columns(ROW)


def _stream(read: Callable[[], Iterator[pa.Table]]) -> Any:
    """The notes as a Ray Dataset, read by one task."""
    from ray.data import range as one_row

    # It waits for the cutters most of the time, so it takes none of their cores.
    return one_row(1).map_batches(lambda _: read(), batch_format="pyarrow", num_cpus=0)


def _explain(error: Exception, path: Path) -> DeepICDError:
    """What the task that read refused; Ray's own message may show a row."""
    if isinstance(ours := getattr(error, "cause", None), DeepICDError):
        return ours
    return DataError(
        f"{path} could not be read to its end ({type(error).__name__}). Try again; with less "
        "memory in use if it is large."
    )


def _read_short(path: Path, name: str) -> pa.Table:
    """Wanted columns of a table of short rows, its ids checked; of diagnoses the principal ICD-10
    rows only."""
    optional = (column for column in _OPTIONAL.get(name, ()) if has_column(path, column))
    columns = (*_SHORT[name], *optional)
    schema = pa.schema([*((column, pa.string()) for column in columns), (ROW, pa.int64())])
    blocks = [schema.empty_table()]
    for block in map(_principal, read_batches(path, columns)):
        check_ids(block, [column for column in columns if column in IDS], path)
        check_years(block, path)
        blocks.append(block)
    table = pa.concat_tables(blocks)
    check_unique(table, columns[0], path, rule=_ONCE[name])
    return table.drop_columns(ROW)


def _principal(block: pa.Table) -> pa.Table:
    if "seq_num" not in block.column_names:
        return block
    keep = pc.and_(pc.equal(block["seq_num"], "1"), pc.equal(block["icd_version"], "10"))
    return block.filter(keep)


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)
