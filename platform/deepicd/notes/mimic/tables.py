"""A folder of MIMIC-IV → where its tables lie, columns of short ones, what is wrong with a table.

In: the folder that holds `note/` and `hosp/`, or PhysioNet's own folders that hold them (such as
`mimiciv/3.1/hosp`). Out: paths, Arrow tables of strings. Decided here: a table is a csv, csv.gz or
parquet file (or a folder of parquet parts) with MIMIC-IV's stem; columns are found by header name,
further ones are ignored, so v2.x and v3.x read alike; every value is a trimmed string, a whole
number that some tool wrote as `20001.0` is `20001` again. Where a table cannot be read, the file is
looked through once more to name the byte. No text of a row is put into an error.
"""

import codecs
import csv
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from deepicd.errors import DataError, MissingError

SUFFIXES = (".csv.gz", ".csv", ".parquet")
"""Forms of a table; the first that is there is read."""

_PIECE_BYTES = 1 << 20
_MAX_DEPTH = 2


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
    """Raise DataError unless the table's header has every column."""
    try:
        header = _read_header(path)
    except (pa.ArrowException, OSError, EOFError, ValueError, zlib.error, csv.Error) as error:
        raise unreadable(path, error) from None
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)}; its header is {', '.join(header)[:200]}. "
            "Tables are read by header name: keep MIMIC-IV's own header."
        )


def has_column(path: Path, name: str) -> bool:
    """Whether the table's header has a column. Raises DataError where it cannot be read."""
    try:
        return name in _read_header(path)
    except (pa.ArrowException, OSError, EOFError, ValueError, zlib.error, csv.Error) as error:
        raise unreadable(path, error) from None


def read_batches(path: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Wanted columns of a table of short rows, piece by piece, as trimmed strings."""
    check_columns(path, columns)
    try:
        if path.suffix == ".parquet":
            pieces = pads.dataset(path, format="parquet").to_batches(columns=list(columns))
        else:
            convert = pyarrow.csv.ConvertOptions(
                include_columns=list(columns), column_types=dict.fromkeys(columns, pa.string())
            )
            pieces = pyarrow.csv.open_csv(path, convert_options=convert)
        for piece in pieces:
            yield as_strings(pa.Table.from_batches([piece]), columns)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from None


def as_strings(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The columns as trimmed strings; null stays null."""
    return pa.table({name: _trim(table[name].cast(pa.string())) for name in columns})


def unreadable(path: Path, error: Exception) -> DataError:
    """The error to raise where a table cannot be read: file, fault and byte, way out."""
    if isinstance(error, PermissionError):
        return DataError(
            f"{path} may not be read (permission denied); ask its owner for read permission "
            "(chmod u+r), or run as a user that has it."
        )
    fault = find_fault(path) if path.is_file() else ""
    return DataError(
        f"{path} cannot be read as a MIMIC-IV table: "
        f"{fault or f'a row or value is broken ({type(error).__name__})'}. "
        "Check that it is complete (gzip -t, SHA256SUMS.txt), UTF-8, and has one quoted text a "
        "row; else download it again."
    )


def find_fault(path: Path) -> str:
    """Where a table is cut off, damaged or not UTF-8, in words; empty where none of it is found."""
    if path.suffix == ".parquet":
        return "it is no Parquet file, or a damaged one"
    decoder = codecs.getincrementaldecoder("utf-8")()
    position = 0
    try:
        for piece in _unpack(path):
            # Bytes of a character that the piece before cut in two count from there.
            held = len(decoder.getstate()[0])
            decoder.decode(piece)
            position += len(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        return f"byte {position - held + error.start:,} of its text is not UTF-8"
    except _BrokenStreamError as error:
        return str(error)
    return _find_cr(path)


def _find_cr(path: Path) -> str:
    """Lines that end in a carriage return alone are one long row to a CSV reader."""
    head = next(_unpack(path), b"")
    if b"\r" in head and b"\n" not in head:
        return "its lines end in carriage returns (CR) alone; write it with LF or CRLF line ends"
    return ""


class _BrokenStreamError(Exception):
    """A gzip stream that ends or breaks too early; the message names the byte."""


def _unpack(path: Path) -> Iterator[bytes]:
    """Bytes of a table, unpacked, in pieces."""
    with path.open("rb") as file:
        if path.suffix != ".gz":
            yield from iter(lambda: file.read(_PIECE_BYTES), b"")
            return
        # 31 asks for a gzip header and its checksum; Python's gzip module does not say where it
        # broke.
        unpacker, position = zlib.decompressobj(31), 0
        while piece := file.read(_PIECE_BYTES):
            position += len(piece)
            while piece:
                if unpacker.eof:  # a gzip file may hold several streams
                    unpacker = zlib.decompressobj(31)
                try:
                    yield unpacker.decompress(piece)
                except zlib.error:
                    start = position - len(piece)
                    raise _BrokenStreamError(
                        f"its gzip stream is damaged between bytes {start:,} and {position:,}"
                    ) from None
                piece = unpacker.unused_data
        if not unpacker.eof:
            raise _BrokenStreamError(
                f"its gzip stream is cut off: it ends at byte {position:,} without an end mark"
            )


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


def _read_header(path: Path) -> list[str]:
    if path.suffix == ".parquet":
        schema = pads.dataset(path).schema if path.is_dir() else pq.read_schema(path)
        return list(schema.names)
    line = b""
    for piece in _unpack_header(path):
        line += piece
        if b"\n" in line:
            break
    return [name.strip() for name in next(csv.reader([line.decode("utf-8-sig")]), [])]


def _unpack_header(path: Path) -> Iterator[bytes]:
    try:
        for piece in _unpack(path):
            yield piece.partition(b"\n")[0] + (b"\n" if b"\n" in piece else b"")
    except _BrokenStreamError as error:
        raise EOFError(str(error)) from None


def _trim(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.replace_substring_regex(pc.utf8_trim_whitespace(values), r"^(\d+)\.0$", r"\1")
