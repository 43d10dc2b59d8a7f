"""A table as Parquet, one file or a folder of parts → batches, each part by its own schema.

In: a path and the columns that are wanted. Out: schemas and batches in the order of the names.
Decided here: parts are not cast to a common schema, since a part whose ids are floating-point
numbers would make those of all others such (long ids become equal). Arrow passes over files whose
name begins with `_` or `.`, which may hide rows: a Parquet file among them is refused, but for the
lists of contents that tools write (`_metadata`). So is whatever else lies in the folder.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from deepicd.errors import DataError
from deepicd.text_lines import unreadable

_PARQUET = b"PAR1"
"""First bytes of a Parquet file."""
_CONTENTS = ("_metadata", "_common_metadata")
_BROKEN = (pa.ArrowException, OSError)


def is_parquet(path: Path) -> bool:
    """Whether a file begins as Parquet does.

    Raises:
        DataError: it may not be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(len(_PARQUET)) == _PARQUET
    except OSError as error:
        raise unreadable(path, type(error).__name__) from None


def read_schemas(path: Path) -> dict[Path, pa.Schema]:
    """Part → its own schema; a single file is its only part.

    Raises:
        DataError: a part is no Parquet file, is hidden or damaged, or has a column twice, or there
            is none.
    """
    schemas = {}
    for part in _parts(path):
        try:
            schemas[part] = pq.read_schema(part)
        except _BROKEN as error:
            raise _broken(part, error) from None
        names = schemas[part].names
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise DataError(
                f"{part} has the column {', '.join(twice)[:200]} more than once, which its reader "
                "does not take. Keep one, or rename the other."
            )
    return schemas


def read_batches(
    path: Path, columns: Sequence[str], batch_rows: int
) -> Iterator[tuple[Path, int, pa.Table]]:
    """Wanted columns piece by piece: the part, how many rows of it came before, and the rows.

    Raises:
        DataError: as `read_schemas`, or a text that is not UTF-8.
    """
    for part in _parts(path):
        number = 0
        try:
            for batch in pads.dataset(part, format="parquet").to_batches(
                columns=list(columns),
                batch_size=batch_rows,
                # Little at a time: a row group of notes may hold gigabytes, and the scanner would
                # read dozens of batches ahead.
                batch_readahead=1,
            ):
                batch.validate(full=True)
                yield part, number, pa.Table.from_batches([batch])
                number += batch.num_rows
        except _BROKEN as error:
            raise _broken(part, error) from None


def _parts(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    parts = []
    # Links are followed, as Arrow does.
    found = (
        Path(folder, name) for folder, _, names in os.walk(path, followlinks=True) for name in names
    )
    for file in sorted(found):
        is_hidden = any(name.startswith(("_", ".")) for name in file.relative_to(path).parts)
        if is_hidden and file.name not in _CONTENTS and is_parquet(file):
            raise DataError(
                f"{file} is a Parquet file whose name begins with _ or ., so it is open whether "
                "its rows count. Rename it, or move it out of the folder."
            )
        if not is_hidden:
            parts.append(file)
    _check_parts(path, parts)
    return parts


def _check_parts(path: Path, parts: Sequence[Path]) -> None:
    if not parts:
        raise DataError(f"{path} is a folder without a file; name one with Parquet parts.")
    if others := [part for part in parts if not is_parquet(part)]:
        raise DataError(
            f"{path} is a folder, which must hold Parquet parts alone; {len(others)} of "
            f"{len(parts)} files are none, such as {others[0].name}. Move them out of the folder; "
            "of CSV or JSON lines name one file."
        )


def _broken(part: Path, error: Exception) -> DataError:
    if isinstance(error, PermissionError):
        return unreadable(part)
    return DataError(
        f"{part} cannot be read as Parquet ({type(error).__name__}); it is no such file or a "
        "damaged one, or a text in it is not UTF-8. Write or download it anew."
    )
