"""A text from anywhere → its lines, its bytes in pieces, or all of it.

In: a path, or bytes. Out: lines without their ends, one after the other; UTF-8 pieces with LF line
ends; or the whole text. Decided here: compression is told by content and not by name (gzip, of one
or several members and zeros behind them, is unpacked; others are refused by name); a byte-order
mark decides between UTF-8 and UTF-16 and goes; LF, CRLF and CR end a line; a null character is no
text. Memory is bounded by the longest line, or by a piece: a longer line is refused, so that
neither a bomb nor a file without line ends is read whole. No text of the file is put into an error.
"""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from deepicd.errors import DataError, MissingError

MAX_LINE = 16 << 20
"""Characters of the longest line."""
PIECE_BYTES = 1 << 20
"""Of a piece, about; so the bytes that are held at once."""

_GZIP = b"\x1f\x8b"
_OTHERS = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!\x1a\x07": "RAR",
    b"\x1f\x9d": "compress",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "Excel or Word before 2007",
    b"%PDF-": "PDF",
    b"{\\rtf": "RTF",
    b"SQLite format 3\0": "SQLite",
    b"ARROW1\0\0": "Arrow",
    **{b"BZh%d1AY&SY" % level: "bzip2" for level in range(1, 10)},
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"PAR1": "Parquet",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x5d\x00\x00": "lzma",
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
}
_TAR, _TAR_PLACE = b"ustar", 257
"""First bytes → what a file is instead of text."""
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_SEEN = 512
_EVERY_OTHER = 8
"""Bytes in which every other one is zero where Latin letters are written with two or four."""
# gzip raises all three: no gzip, cut off, a damaged block.
_BROKEN = (OSError, EOFError, zlib.error)


def read_lines(path: Path, *, errors: str = "strict") -> Iterator[str]:
    """Lines of a text file, plain or packed with gzip.

    Args:
        path: the file.
        errors: `strict` refuses bytes that are no text, `replace` puts a mark in their place.

    Raises:
        MissingError: no such file.
        DataError: it is packed otherwise, damaged, no text, or has a line above `MAX_LINE`.
    """
    number = 0
    with _open(path) as packed:
        try:
            binary = _unpacked(packed, path)
            text = io.TextIOWrapper(binary, encoding=_encoding(binary), errors=errors)
            # One more than is let through, so that a line of just that length is told from a longer
            # one.
            while line := text.readline(MAX_LINE + 1):
                number += 1
                _check_line(line, f"{path}:{number}")
                # The wrapper has made LF of every line end.
                yield line.rstrip("\n")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}: byte {error.start:,} behind line {number} is not "
                f"{error.encoding.upper()}. Write the file in UTF-8."
            ) from None
        except _BROKEN as error:
            raise _explain(error, packed, path) from None


def read_pieces(path: Path) -> Iterator[bytes]:
    """A text file as UTF-8 bytes with LF line ends and without a mark, for a parser of bytes.

    Raises:
        MissingError: no such file.
        DataError: it is packed otherwise, damaged or no text; names the byte.
    """
    with _open(path) as packed:
        position = held = 0
        try:
            binary = _unpacked(packed, path)
            encoding = _MARKS.get(binary.peek(2)[:2], "utf-8")
            if binary.peek(3)[:3] == codecs.BOM_UTF8:
                position = len(binary.read(3))
            decoder, ends = codecs.getincrementaldecoder(encoding)(), _LineEnds()
            while piece := binary.read(PIECE_BYTES):
                # Bytes of a character that the piece before cut in two count from there.
                held = len(decoder.getstate()[0])
                checked = piece
                # ASCII needs no look: most pieces of English tables are spared the decoding.
                if encoding != "utf-8" or held or not piece.isascii():
                    text = decoder.decode(piece)
                    # What is UTF-8 already goes on as it came: this was for the check alone.
                    checked = piece if encoding == "utf-8" else text.encode()
                yield ends.to_lf(_check_bytes(checked, position, path))
                position += len(piece)
            held = len(decoder.getstate()[0])
            decoder.decode(b"", final=True)
            yield ends.rest()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}: byte {position - held + error.start:,} of its text is not "
                f"{error.encoding.upper()}. Write the file in UTF-8."
            ) from None
        except _BROKEN as error:
            raise _explain(error, packed, path) from None


def read_text(path: Path) -> str:
    """The whole of a short text file, by the same rules.

    Raises:
        MissingError: no such file.
        DataError: as `read_lines`, or it is longer than `MAX_LINE`.
    """
    with _open(path) as packed:
        return decode_text(packed, str(path))


def decode_text(stream: BinaryIO, name: str) -> str:
    """The whole of a short text from a stream such as standard input; `name` stands in errors.

    Raises:
        DataError: as `read_text`.
    """
    packed = io.BufferedReader(cast(Any, stream))
    try:
        binary = _unpacked(packed, Path(name))
        encoding = _encoding(binary)
        text = io.TextIOWrapper(binary, encoding=encoding).read(MAX_LINE + 1)
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 text (byte {error.start}). Convert it.") from None
    except _BROKEN as error:
        raise _explain(error, packed, Path(name)) from None
    if not text and encoding == "utf-16":  # a mark and nothing behind it
        raise DataError(f"{name} is not UTF-8 text (byte 0). Convert it.")
    if len(text) > MAX_LINE:
        raise DataError(f"{name} has more than {MAX_LINE:,} characters. Give less text.")
    if "\0" in text:
        raise DataError(f"{name} is no text: it holds a null character. Write it in UTF-8.")
    return text


def refuse_repeated_keys(place: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a JSON line, as the `object_pairs_hook` of `json.loads`.

    Raises:
        DataError: it has a key twice; names the place.
    """
    row = dict(pairs)
    if len(row) < len(pairs):
        raise DataError(f"{place}: a key stands twice in one object; give each key once")
    return row


def unreadable(path: Path, why: str = "permission denied") -> DataError:
    """The refusal of a file that the system does not let this user read."""
    return DataError(
        f"{path} may not be read ({why}); ask its owner for read permission (chmod u+r), or run as "
        "a user that has it."
    )


class _LineEnds:
    """CRLF and CR → LF, piece by piece."""

    def __init__(self) -> None:
        self._has_cr = False
        """The piece before ended in a CR, which is not yet given out."""

    def to_lf(self, piece: bytes) -> bytes:
        if self._has_cr:
            piece = b"\r" + piece
        self._has_cr = piece.endswith(b"\r")
        if self._has_cr:
            piece = piece[:-1]
        if b"\r" not in piece:
            return piece
        return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def rest(self) -> bytes:
        return b"\n" if self._has_cr else b""


def _open(path: Path) -> io.BufferedReader:
    if not path.is_file():
        raise MissingError(f"no file at {path}")
    try:
        return path.open("rb")
    except PermissionError:
        raise unreadable(path) from None


def _unpacked(packed: io.BufferedReader, path: Path) -> io.BufferedReader:
    # Nothing is taken from the stream; `peek` may give more than it is asked for.
    head = packed.peek(_SEEN)[:_SEEN]
    _check_head(head, path)
    if not head.startswith(_GZIP):
        return packed
    binary = io.BufferedReader(cast(Any, gzip.GzipFile(fileobj=packed)), PIECE_BYTES)
    inner = binary.peek(_SEEN)[:_SEEN]
    if inner.startswith(_GZIP):
        raise DataError(f"{path} is packed with gzip twice. Unpack it once (gzip -d).")
    _check_head(inner, path)
    return binary


def _check_head(head: bytes, path: Path) -> None:
    """Raise DataError where the first bytes tell something else than text."""
    name = next((name for first, name in _OTHERS.items() if head.startswith(first)), "")
    if head[_TAR_PLACE:].startswith(_TAR):
        name = "tar"
    if name.startswith("UTF"):
        raise DataError(f"{path} is text in {name}, which is not read. Write it in UTF-8.")
    if name:
        raise DataError(f"{path} is a file of {name}, and no text. Unpack it first.")
    start = head[:_EVERY_OTHER]
    if len(start) == _EVERY_OTHER and any(start) and (not any(start[::2]) or not any(start[1::2])):
        raise DataError(
            f"{path} is text in UTF-16 or UTF-32 without a byte-order mark. Write it in UTF-8."
        )


def _encoding(binary: io.BufferedReader) -> str:
    # `utf-8-sig` drops UTF-8's own mark where there is one.
    return _MARKS.get(binary.peek(2)[:2], "utf-8-sig")


def _check_line(line: str, address: str) -> None:
    if len(line) > MAX_LINE:
        raise DataError(
            f"{address}: a line has more than {MAX_LINE:,} characters. Write one row a line."
        )
    if "\0" in line:
        raise DataError(
            f"{address}: character {line.index(chr(0)) + 1:,} is a null character, so it is no "
            "text. Write the file in UTF-8."
        )


def _check_bytes(piece: bytes, position: int, path: Path) -> bytes:
    if b"\0" in piece:
        raise DataError(
            f"{path}: byte {position + piece.index(0):,} of its text is a null character, so it is "
            "no text. Write the file in UTF-8."
        )
    return piece


def _explain(error: Exception, packed: io.BufferedReader, path: Path) -> DataError:
    """The refusal of a stream that ends or breaks too early."""
    place = f"{packed.tell():,}" if packed.seekable() else "unknown"
    what = (
        f"its gzip stream is cut off: it ends at byte {place} without an end mark"
        if isinstance(error, EOFError)
        else f"its gzip stream is damaged before byte {place}"
        if isinstance(error, zlib.error | gzip.BadGzipFile)
        else f"the system says {type(error).__name__}"
    )
    return DataError(
        f"{path} cannot be read: {what}. Check that it is complete (gzip -t, SHA256SUMS.txt), else "
        "copy it again."
    )
