"""A CSV file from anywhere → Arrow tables of strings, piece by piece.

In: a path and the columns that are wanted. Out: tables of these columns as they stand, in order.
Decided here: the text passes `text_lines`, so marks, encodings, line ends and compression are
decided there; the header is looked at before the rows are, so that a file that is no such table is
refused at its first line; a row must be smaller than a piece. Where a row cannot be parsed the file
is read once more, row by row, to name it. No value of a row is put into an error.
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from deepicd.errors import DataError
from deepicd.text_lines import read_lines, read_pieces

PIECE_BYTES = 2 << 20
"""Text that is parsed at once; one row must be smaller."""

MAX_HEADER = 1 << 20
"""Bytes of the longest header."""
_MAX_COLUMNS = 10_000
"""Arrow needs memory for each column of each piece."""
_SEPARATORS = {b";": "semicolons", b"\t": "tabs", b"|": "bars"}

_QUOTE = ord('"')
_BESIDE_QUOTES = np.frombuffer(b',\n"', np.uint8)
"""What stands before a quote that opens a value, and behind one that closes it."""

_NUM_SHOWN = 40
"""Names of columns in a message."""
_BY_NAME = "columns are found by the names in the header: write them as they are named here"
_WAY_OUT = "Write it as CSV with one header line and quotes around a text that holds a comma."


def read_header(path: Path) -> list[str]:
    """Names in the first line of a CSV file, trimmed.

    Raises:
        MissingError: no such file.
        DataError: the text cannot be read (`text_lines`), is empty, or has no such line.
    """
    return _split_header(read_pieces(path), path)[0]


def read_csv(path: Path, columns: Sequence[str], *, threads: bool = False) -> Iterator[pa.Table]:
    """The wanted columns of a CSV file as strings, piece by piece; an empty value is an empty text.

    Raises:
        MissingError: no such file.
        DataError: as `read_header`; a column is not there or stands twice; a row is broken. Names
            the column, and the row: 1 is the first one below the header.
    """
    pieces = read_pieces(path)
    header, rest = _split_header(pieces, path)
    check_header(header, {name: name for name in columns}, path)
    checked = _check_quotes(chain([rest], pieces), path, header)
    stream = io.BufferedReader(_Stream(checked), PIECE_BYTES)
    if not stream.peek(1):
        return
    try:
        yield from _no_headers(
            map(_to_table, _open_csv(stream, header, columns, threads=threads)), path
        )
    except pa.ArrowException as error:
        raise _find_fault(path, header) or DataError(
            f"{path} has a broken row ({type(error).__name__}). {_WAY_OUT}"
        ) from None


def check_header(
    header: Sequence[str],
    columns: Mapping[str, str],
    path: Path,
    *,
    way_out: Callable[[str], str] = lambda _: _BY_NAME,
    is_shown: bool = False,
) -> None:
    """Look whether every wanted column is there once.

    Args:
        header: names in the first line of any table.
        columns: what is read → its column.
        path: of the table, for messages.
        way_out: what is read → how its column is named right.
        is_shown: whether the header is one for certain: a first line without any wanted name may
            be a row, whose values are not shown.

    Raises:
        DataError: a column is not there, or stands twice.
    """
    if missing := {what: name for what, name in columns.items() if name not in header}:
        known = {name.lower() for name in header}
        has_names = is_shown or any(name.lower() in known for name in columns.values())
        names = f"its header is {', '.join(header[:_NUM_SHOWN])[:1000]}" if has_names else (
            f"none of {', '.join(columns.values())[:1000]} is among the {len(header)} values of "
            "its first line, which is not shown: it may be a row"
        )  # fmt: skip
        wanted = ", ".join(
            name if name == what else f"{name!r} ({what})" for what, name in missing.items()
        )[:1000]
        raise DataError(f"{path} has no column {wanted}, {names}; {way_out(next(iter(missing)))}")
    if twice := sorted({name for name in columns.values() if header.count(name) > 1}):
        raise DataError(
            f"{path} has the column {', '.join(twice)} more than once, so it is open which is "
            "meant; keep one, or rename the other"
        )


class _Stream(io.RawIOBase):
    """Pieces as a file, which Arrow reads from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._left, self._pieces = memoryview(b""), pieces

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._left:
            piece = next(self._pieces, b"")
            if not piece:
                return 0
            self._left = memoryview(piece)
        taken = min(len(buffer), len(self._left))
        buffer[:taken], self._left = self._left[:taken], self._left[taken:]
        return taken


class _Quotes:
    """Whether quotes open and close where values do; else rows may have become one unseen."""

    def __init__(self) -> None:
        self._is_inside = False
        self._tail = b"\n"
        """The byte before the next one to be looked at, and that one: it needs its follower."""

    def are_sound(self, piece: bytes) -> bool:
        """Look at the next piece; an empty one is the end."""
        block = self._tail + (piece or b"\n")
        self._tail = block[-2:]
        values = np.frombuffer(block, np.uint8)
        places = np.flatnonzero(values[1:-1] == _QUOTE) + 1
        openings, closings = places[self._is_inside :: 2], places[not self._is_inside :: 2]
        self._is_inside ^= bool(len(places) % 2)
        # A doubled quote closes and opens again.
        ends = np.concatenate([values[openings - 1], values[closings + 1]])
        is_sound = bool(np.isin(ends, _BESIDE_QUOTES).all())
        return is_sound and bool(piece or not self._is_inside)


def _check_quotes(pieces: Iterator[bytes], path: Path, header: list[str]) -> Iterator[bytes]:
    """The pieces; raises where quotes make rows run together, which Arrow takes as one value."""
    quotes, is_suspect = _Quotes(), False
    for piece in chain(filter(None, pieces), [b""]):
        if not is_suspect and not quotes.are_sound(piece):
            # A quote within a value without quotes is one too, and valid: the slow way tells.
            is_suspect = True
            if fault := _find_fault(path, header):
                raise fault
        yield piece


def _split_header(pieces: Iterator[bytes], path: Path) -> tuple[list[str], bytes]:
    """Names in the first line, and what of the text was read behind it."""
    text = b""
    for piece in pieces:
        text = (text + piece).lstrip(b"\n")
        if b"\n" in text or len(text) > MAX_HEADER:
            break
    line, _, rest = text.partition(b"\n")
    if len(line) > MAX_HEADER:
        raise DataError(f"{path} has a header of more than {MAX_HEADER:,} bytes. {_WAY_OUT}")
    _check_form(line, path)
    try:
        names = next(csv.reader([line.decode()], strict=True), [])
    except csv.Error:
        raise DataError(
            f"{path} has a header with a quote that is not closed. {_WAY_OUT}"
        ) from None
    if not names:
        raise DataError(f"{path} is empty. {_WAY_OUT}")
    return [name.strip() for name in names], rest


def _check_form(line: bytes, path: Path) -> None:
    """Raise DataError where the first line tells another form than CSV with commas."""
    if line.count(b",") >= _MAX_COLUMNS:
        raise DataError(
            f"{path} has more than {_MAX_COLUMNS:,} columns. Keep those that are needed, or write "
            "a line end behind the header."
        )
    for sign, name in _SEPARATORS.items():
        if sign in line and b"," not in line:
            raise DataError(
                f"{path} has no comma in its first line, but {name}: its values are separated by "
                "them. Write it with commas."
            )
    is_setting = line.lower().startswith(b"sep=")
    if is_setting or line.startswith(b"# "):
        what = "sets a separator (sep=)" if is_setting else "is a comment (#)"
        raise DataError(f"{path} has a first line that {what}, and is no header. Remove it.")


def _open_csv(
    stream: BinaryIO, header: list[str], columns: Sequence[str], *, threads: bool
) -> Iterator[pa.RecordBatch]:
    # Columns that nobody asked for may share a name, which Arrow does not take.
    names = [name if name in columns else f"{i}:" for i, name in enumerate(header)]
    try:
        yield from pyarrow.csv.open_csv(
            stream,
            read_options=pyarrow.csv.ReadOptions(
                block_size=PIECE_BYTES, use_threads=threads, column_names=names
            ),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=list(columns),
                column_types=dict.fromkeys(columns, pa.string()),
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        if "Empty CSV file" not in str(error):  # blank lines and no row
            raise


def _to_table(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch])


def _no_headers(tables: Iterator[pa.Table], path: Path) -> Iterator[pa.Table]:
    """The tables; raises where a row is the header again, since two exports were joined."""
    first = 1
    for table in tables:
        alike = (
            pc.equal(pc.utf8_trim_whitespace(table[name]), name) for name in table.column_names
        )
        found = pc.index(reduce(pc.and_, alike), True).as_py() if table.num_columns else -1
        # A single column may hold its own name as a word.
        if found >= 0 and table.num_columns > 1:
            raise DataError(
                f"{path}: row {first + found:,} below its header is the header again, as where two "
                "tables were joined. Remove that row."
            )
        first += table.num_rows
        yield table


def _find_fault(path: Path, header: Sequence[str]) -> DataError | None:
    """What is wrong with the first broken row, without its values."""
    number = begin = 0
    limit = csv.field_size_limit(PIECE_BYTES)
    rows = csv.reader(read_lines(path), strict=True)
    try:
        for row in rows:
            if row and number and len(row) != len(header):
                what = f"has {len(row)} values where the header has {len(header)}"
                return _refuse_row(path, (number, begin), what)
            if sum(map(len, row)) > PIECE_BYTES:
                return _refuse_row(path, (number, begin), f"is above {PIECE_BYTES:,} characters")
            number, begin = number + bool(row), rows.line_num
    except csv.Error as error:
        is_long = f"is above {PIECE_BYTES:,} characters or " if "field limit" in str(error) else ""
        what = f"{is_long}has a quote that is not closed, or a text behind one"
        return _refuse_row(path, (number, begin), what)
    finally:
        csv.field_size_limit(limit)
    return None


def _refuse_row(path: Path, place: tuple[int, int], what: str) -> DataError:
    number, line = place
    name = f"row {number:,} below its header (line {line + 1:,})" if number else "its header"
    return DataError(f"{path}: {name} {what}. {_WAY_OUT}")
