"""A file with a row a note, as CSV, JSON lines or Parquet → blocks of rows.

In: the file, and the column of each thing that is read from it. Out: blocks (`blocks.BLOCK`), one
after the other. Decided here: what a file is, is told by its content; text comes through the one
reader of texts (`text_lines`, `csv_table`), so byte-order marks, gzip, encodings and line ends are
its matter. A file is looked at before Ray starts (`check_file`): a wrong name costs no time.

A message names file, row and column, never a value: notes are patients'.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from deepicd.errors import DataError, MissingError
from deepicd.notes.csv_table import check_header, read_csv, read_header
from deepicd.notes.parquet_parts import is_parquet, read_batches, read_schemas
from deepicd.notes.table.blocks import BLOCK, BLOCK_ROWS, ROLES, gather, tidy
from deepicd.notes.table.order import OrderReader
from deepicd.text_lines import read_lines, refuse_repeated_keys

_NUM_SEEN = 100
"""Rows of JSON lines that are looked at for their keys: a row may leave out what is null."""
_KINDS: Mapping[type, str] = {bool: "true or false", dict: "an object", list: "a list"}

Columns = Mapping[str, str]
"""What is read (`blocks.ROLES`) → name of its column."""


def _as_option(role: str) -> str:
    """How `deepicd notes build` names a column, and where an experiment does."""
    return f"--columns {role}=COLUMN (data.columns.{role})"


def as_setting(role: str) -> str:
    """How an experiment names a column."""
    return f"data.columns.{role} in the file, or --set data.columns.{role}=COLUMN"


def check_file(path: Path, columns: Columns, naming: Callable[[str], str] = _as_option) -> None:
    """Look at a file before it is read.

    Args:
        path: the file.
        columns: of what is read.
        naming: what is read → how whoever asks names its column: the way out of an error.

    Raises:
        MissingError: no such file.
        DataError: it is empty, has not every column or one of them twice, or cannot be read.
    """
    if not path.exists():
        raise MissingError(f"no file of notes at {path}; correct --file (data.file)")
    if path.is_dir() or is_parquet(path):
        for part, schema in read_schemas(path).items():
            _check_types(part, schema, columns, naming=naming)
    else:
        line = _first_line(path)
        header, is_json = _header(path, line), _is_json(line)
        check_header(header, columns, path, way_out=_way_out(naming), is_shown=is_json)


def read_rows(path: Path, columns: Columns) -> Iterator[pa.Table]:
    """Blocks of a file, in its order.

    Raises:
        DataError: a row that is broken, or a value of a wrong kind; names line and column.
    """
    if path.is_dir() or is_parquet(path):
        yield from _read_parquet(path, columns)
        return
    if _is_json(_first_line(path)):
        yield from gather(_read_json(path, columns))
    else:
        yield from _read_csv(path, columns)


def _first_line(path: Path) -> str:
    line = next((line for line in read_lines(path) if line.strip()), None)
    if line is None:
        raise DataError(f"{path} is empty; name a file with a header and a row a note")
    return line


def _is_json(line: str) -> bool:
    return line.lstrip().startswith("{")


def _header(path: Path, line: str) -> list[str]:
    """Names of columns, of a file with that first line."""
    if line.lstrip().startswith("["):
        raise DataError(
            f"{path} is one JSON array; write one JSON object a line (jq -c '.[]' FILE)"
        )
    if not _is_json(line):
        return read_header(path)
    rows = islice(_parse_lines(path), _NUM_SEEN)
    return list(dict.fromkeys(name for _, row in rows for name in row))


def _way_out(naming: Callable[[str], str]) -> Callable[[str], str]:
    return lambda role: f"name the right ones: {naming(role)}"


def _read_csv(path: Path, columns: Columns) -> Iterator[pa.Table]:
    number, orders = 0, OrderReader()
    for piece in read_csv(path, sorted(set(columns.values()))):
        for start in range(0, piece.num_rows, BLOCK_ROWS):
            rows = piece.slice(start, BLOCK_ROWS)
            yield _to_block(rows, columns, partial(_place, path, number), orders=orders)
            number += rows.num_rows


def _read_json(path: Path, columns: Columns) -> Iterator[tuple[str, dict[str, str | None]]]:
    for place, row in _parse_lines(path):
        yield (
            place,
            {role: _as_text(row.get(name), role, place) for role, name in columns.items()},
        )


def _parse_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            yield f"{path}:{number}", parse_object(line, f"{path}:{number}")


def parse_object(line: str, place: str) -> dict[str, Any]:
    """One JSON object. Numbers are the text that they are written as: an id loses no digit.

    Raises:
        DataError: it is none, or has a key twice.
    """
    try:
        row = json.loads(
            line,
            parse_float=str,
            parse_int=str,
            parse_constant=str,
            object_pairs_hook=partial(refuse_repeated_keys, place),
        )
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        column = getattr(error, "colno", 1)
        raise DataError(
            f"{place}: no JSON object (at character {column}). Write one object a line."
        ) from None
    if not isinstance(row, dict):
        raise DataError(f"{place}: no JSON object. Write one object a line.")
    return row


def _as_text(value: Any, role: str, place: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise DataError(
            f"{place}: {role} must be text{'' if role == 'note' else ' or a number'}; it is "
            f"{_KINDS.get(type(value), 'something else')}. Correct it."
        )
    if "\0" in value:
        raise DataError(
            f"{place}: {role} holds a null character, so it is no text. Remove the character."
        )
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"{place}: {role} holds half of a surrogate pair, which is no character. Write "
                "the whole character."
            ) from None
    return value


def _check_types(
    path: Path, schema: pa.Schema, columns: Columns, *, naming: Callable[[str], str]
) -> None:
    check_header(schema.names, columns, path, way_out=_way_out(naming), is_shown=True)
    for role, name in columns.items():
        kind = schema.field(name).type
        if not _is_read(kind, role):
            raise DataError(
                f"{path}: column {name} ({role}) is of type {kind}; it must be text"
                f"{'' if role == 'note' else ' or a number'}. Write it so, or name another "
                f"column: {naming(role)}"
            )


def _is_read(kind: pa.DataType, role: str) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return True
    # Long ids have become equal in a column of floating-point numbers.
    is_decimal = pa.types.is_decimal(kind) and kind.scale == 0
    is_fraction = pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    is_number = pa.types.is_integer(kind) or is_decimal
    is_number |= is_fraction and role in ("age", "order")
    is_time = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
    return (is_number and role not in ("note", "code")) or (is_time and role == "order")


def _read_parquet(path: Path, columns: Columns) -> Iterator[pa.Table]:
    orders = OrderReader()
    for part, first, rows in read_batches(path, sorted(set(columns.values())), BLOCK_ROWS):
        yield _to_block(rows, columns, partial(_place, part, first), orders=orders)


def _place(path: Path, first: int, row: int) -> str:
    return f"{path}, row {first + row + 1:,}"


def _to_block(
    rows: pa.Table, columns: Columns, place_of: Callable[[int], str], *, orders: OrderReader
) -> pa.Table:
    """Rows of a file as a block."""
    read = {role: rows[name].cast(pa.string()) for role, name in columns.items()}
    empty = pa.nulls(rows.num_rows, pa.string())
    block = pa.table({role: read.get(role, empty) for role in ROLES}, schema=BLOCK)
    return tidy(block, place_of, orders)
