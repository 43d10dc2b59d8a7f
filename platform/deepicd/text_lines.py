"""A text from anywhere → its lines, or all of it: byte-order marks, encodings and compression.

In: a path, or bytes. Out: lines without their ends, one after the other; or the whole text. Decided
here: compression is told by content and not by name (gzip, of one or several members, is unpacked;
others are refused by name); a byte-order mark decides between UTF-8 and UTF-16 and goes; LF, CRLF
and CR end a line. Memory is bounded by the longest line: a longer one is refused, so that neither a
bomb nor a file without line ends is read whole. No text of the file is put into an error.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

from deepicd.errors import DataError, MissingError

MAX_LINE = 16 << 20
"""Characters of the longest line."""

_GZIP = b"\x1f\x8b"
_OTHERS = {
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"PAR1": "Parquet",
}
"""First bytes → what a file is instead of text."""
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_SEEN = 8


def read_lines(path: Path, *, errors: str = "strict") -> Iterator[str]:
    """Lines of a text file, plain or packed with gzip.

    Args:
        path: the file.
        errors: `strict` refuses bytes that are no text, `replace` puts a mark in their place.

    Raises:
        MissingError: no such file.
        DataError: it is packed otherwise, damaged, no text, or has a line above `MAX_LINE`.
    """
    if not path.is_file():
        raise MissingError(f"no file at {path}")
    number = 0
    try:
        with path.open("rb") as packed, _unpacked(packed, path) as binary:
            text = io.TextIOWrapper(binary, encoding=_encoding(binary), errors=errors)
            # One more than is let through, so that a line of just that length is told from a longer
            # one.
            while line := text.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise DataError(
                        f"{path}:{number}: a line has more than {MAX_LINE:,} characters. Write one "
                        "row a line."
                    )
                # The wrapper has made LF of every line end.
                yield line.rstrip("\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {error.start:,} behind line {number} is not {error.encoding}. Write the "
            "file in UTF-8."
        ) from None
    # gzip raises all three: no gzip, cut off, a damaged block.
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read behind line {number} ({type(error).__name__}). Check that it "
            "is complete (gzip -t)."
        ) from None


def decode_text(data: bytes, name: str) -> str:
    """The whole of a short text, by the same rules; line ends stay as they are.

    Raises:
        DataError: as `read_lines`; `name` says where the bytes are from.
    """
    try:
        with _unpacked(io.BufferedReader(io.BytesIO(data)), Path(name)) as binary:
            wrapped = io.TextIOWrapper(binary, encoding=_encoding(binary), newline="")
            text = wrapped.read(MAX_LINE + 1)
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 text (byte {error.start}). Convert it.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name} cannot be unpacked ({type(error).__name__}).") from None
    if data and not text:  # a mark of UTF-16 and nothing behind it
        raise DataError(f"{name} is not UTF-8 text (byte 0). Convert it.")
    if len(text) > MAX_LINE:
        raise DataError(f"{name} has more than {MAX_LINE:,} characters. Give less text.")
    return text


def _unpacked(packed: io.BufferedReader, path: Path) -> io.BufferedReader:
    # Nothing is taken from the stream; `peek` may give more than it is asked for.
    head = packed.peek(_SEEN)[:_SEEN]
    for first, name in _OTHERS.items():
        if head.startswith(first):
            raise DataError(f"{path} is a file of {name}, and no text. Unpack it first.")
    if head.startswith(_GZIP):
        return io.BufferedReader(gzip.GzipFile(fileobj=packed))
    return packed


def _encoding(binary: io.BufferedReader) -> str:
    head = binary.peek(2)[:2]
    # `utf-8-sig` drops UTF-8's own mark where there is one.
    return _MARKS.get(head, "utf-8-sig")
