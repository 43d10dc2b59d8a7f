"""A folder of MIMIC-IV → where its tables lie, columns of short ones, what is wrong with a table.

In: the folder that holds `note/` and `hosp/`, or PhysioNet's own folders that hold them (such as
`mimiciv/3.1/hosp`). Out: paths, Arrow tables of strings. Decided here: a table is a csv, csv.gz or
parquet file (or a folder of parquet parts) with MIMIC-IV's stem; columns are found by header name,
further ones are ignored, so v2.x and v3.x read alike. `csv_table` reads what is text. Every value
is a trimmed string; a number that some tool wrote as `67.0` is `67` again, an id is not: see
`id_columns`. No text of a row is put into an error.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from deepicd.errors import DataError, MissingError
from deepicd.notes import parquet_parts
from deepicd.notes.csv_table import check_header, read_csv, read_header
from deepicd.notes.id_columns import ROW, check_types, trim_ids
from deepicd.notes.parquet_parts import read_schemas

SUFFIXES = (".csv.gz", ".csv", ".parquet")
"""Forms of a table; the first that is there is read."""

IDS = frozenset(("note_id", "subject_id", "hadm_id"))
"""Columns that identify a note, a patient, an admission."""

_MAX_DEPTH = 2
_BATCH_ROWS = 1024


def find_table(root: Path, name: str) -> Path:
    """Path of the table `folder/stem` under `root`.

    Raises MissingError naming what was looked for, DataError where two releases lie under `root` or
    a folder may not be read.
    """
    parent, _, stem = name.partition("/")
    try:
        folder = _find_folder(root, parent)
        for suffix in SUFFIXES:
            path = folder / f"{stem}{suffix}"
            if path.exists():
                return path
    except PermissionError:
        raise DataError(
            f"{root} or a folder in it may not be read (permission denied); ask its owner for "
            "read permission (chmod -R u+rX), or run as a user that has it."
        ) from None
    raise MissingError(
        f"no table {name} under {root}; looked for {', '.join(SUFFIXES)}. "
        "Point --root at the folder that holds MIMIC-IV's note/ and hosp/."
    )


def check_columns(path: Path, columns: Sequence[str]) -> None:
    """Raise DataError unless the table's header has every column once, and ids can be read."""
    names = {name: name for name in columns}
    if path.suffix != ".parquet":
        check_header(read_header(path), names, path)
        return
    for part, schema in read_schemas(path).items():
        check_header(schema.names, names, part, is_shown=True)
        types = {name: schema.field(name).type for name in columns}
        check_types(types, [name for name in columns if name in IDS], part)


def has_column(path: Path, name: str) -> bool:
    """Whether the table's header has a column. Raises DataError where it cannot be read."""
    return any(name in header for header in _read_headers(path).values())


def read_batches(
    path: Path, columns: Sequence[str], *, text: str | None = None
) -> Iterator[pa.Table]:
    """Wanted columns of a table, piece by piece, as trimmed strings, with the number of each row in
    `id_columns.ROW`; the column `text` stays as it is.

    Raises:
        DataError: a column is missing, the file is broken, or a column of ids is of a type that
            holds none.
    """
    check_columns(path, columns)
    pieces = (
        (rows for _, _, rows in parquet_parts.read_batches(path, columns, _BATCH_ROWS))
        if path.suffix == ".parquet"
        else read_csv(path, columns)
    )
    first = 1
    for piece in pieces:
        rows = {name: _as_strings(piece[name], name, text=text) for name in columns}
        yield pa.table(rows | {ROW: pa.array(range(first, first + piece.num_rows), pa.int64())})
        first += piece.num_rows


def _as_strings(values: pa.ChunkedArray, name: str, *, text: str | None) -> pa.ChunkedArray:
    strings = values.cast(pa.string())
    if name == text:
        return strings
    trimmed = trim_ids(strings)
    return trimmed if name in IDS else pc.replace_substring_regex(trimmed, r"^(\d+)\.0$", r"\1")


def _find_folder(root: Path, name: str) -> Path:
    """The only folder `name` under `root`, at most `_MAX_DEPTH` folders down."""
    for depth in range(_MAX_DEPTH + 1):
        folders = sorted(path for path in root.glob("*/" * depth + name) if path.is_dir())
        if len(folders) > 1:
            raise DataError(
                f"{root} holds {name}/ of several releases: {', '.join(map(str, folders))}. "
                "Releases must not be mixed: point --root at a folder with one note/ and one hosp/."
            )
        if folders:
            return folders[0]
    return root / name


def _read_headers(path: Path) -> dict[Path, list[str]]:
    """Names of the columns of each part; a file that is no folder is its only part."""
    if path.suffix != ".parquet":
        return {path: read_header(path)}
    return {part: list(schema.names) for part, schema in read_schemas(path).items()}
