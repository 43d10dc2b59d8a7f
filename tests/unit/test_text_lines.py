"""Text files from anywhere: byte-order marks, encodings, line ends, compression, bombs."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd import text_lines
from deepicd.errors import DataError, MissingError
from deepicd.text_lines import decode_text, read_lines, read_pieces, read_text

LINES = ["one", "tw\u00f6", "", "thr\u4e09e"]
TEXT = "\n".join(LINES) + "\n"


def tarred() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("a.jsonl")
        member.size = len(TEXT.encode())
        archive.addfile(member, io.BytesIO(TEXT.encode()))
    return packed.getvalue()


def zipped() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("a.jsonl", TEXT)
    return data.getvalue()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.gz"])
def test_every_form_of_a_text_gives_its_lines(tmp_path, pack, encoding, end, name):
    path = tmp_path / name
    path.write_bytes(pack(TEXT.replace("\n", end).encode(encoding)))
    assert list(read_lines(path)) == LINES


@pytest.mark.parametrize("padding", [0, 1, 512])
def test_a_file_of_several_gzip_members_and_zeros_behind_them_is_read_whole(tmp_path, padding):
    path = tmp_path / "a"
    members = b"".join(gzip.compress(f"{line}\n".encode()) for line in LINES)
    path.write_bytes(members + b"\0" * padding)
    assert list(read_lines(path)) == LINES
    assert b"".join(read_pieces(path)) == TEXT.encode()


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff")),
    st.integers(1, 9),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_pieces_are_the_text_in_utf_8_with_lf_wherever_they_end(
    tmp_path_factory, text, num_bytes, encoding
):
    path = tmp_path_factory.mktemp("pieces") / "a"
    path.write_bytes(text.encode(encoding))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_lines, "PIECE_BYTES", num_bytes)
        read = b"".join(read_pieces(path)).decode()
    assert read == text.replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused_with_the_way_out(tmp_path):
    path = tmp_path / "a"
    path.write_text("a")
    path.chmod(0)
    with pytest.raises(DataError, match=r"may not be read .permission denied.; ask its owner"):
        list(read_lines(path))


@given(st.lists(st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]))))
def test_any_lines_come_back(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("lines") / "a"
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    wanted = [
        line.removeprefix("\ufeff") if not number else line for number, line in enumerate(lines)
    ]
    assert list(read_lines(path)) == wanted


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (zipped(), "is a file of zip, and no text"),
        (bz2.compress(TEXT.encode()), "is a file of bzip2"),
        (lzma.compress(TEXT.encode()), "is a file of xz"),
        (b"PAR1 and so on", "is a file of Parquet"),
        (b"\x04\x22\x4d\x18 and so on", "is a file of lz4"),
        (b"7z\xbc\xaf\x27\x1c and so on", "is a file of 7-Zip"),
        (b"Rar!\x1a\x07\x00 and so on", "is a file of RAR"),
        (b"PK\x05\x06" + bytes(18), "is a file of zip"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 and so on", "is a file of Excel or Word before 2007"),
        (b"%PDF-1.7 and so on", "is a file of PDF"),
        (b"SQLite format 3\0", "is a file of SQLite"),
        (b"ARROW1\0\0 and so on", "is a file of Arrow"),
        (b"\x1f\x9d and so on", "is a file of compress"),
        (b"{\\rtf1 and so on", "is a file of RTF"),
        (lzma.compress(TEXT.encode(), lzma.FORMAT_ALONE), "is a file of lzma"),
        (tarred(), "is a file of tar, and no text"),
        (gzip.compress(tarred()), "is a file of tar, and no text"),
        (gzip.compress(gzip.compress(TEXT.encode())), "is packed with gzip twice. Unpack it once"),
        (b"\0" * 300, "character 1 is a null character"),
        ("one\nsecret".encode("utf-32-be"), "UTF-16 or UTF-32 without a byte-order mark"),
        (
            gzip.compress(TEXT.encode() * 99, mtime=0)[:-9],
            r"its gzip stream is cut off: it ends at byte \d+ ",
        ),
        (
            gzip.compress(TEXT.encode() * 99, mtime=0) + b"x",
            "its gzip stream is damaged before byte",
        ),
        (b"one\ntwo\nthr\xe9e secret\n", "is not UTF-8. Write the file in UTF-8"),
        (b"one\nsecret \0\n", r"a.jsonl:2: character 8 is a null character"),
        (
            "one\nsecret".encode("utf-16-le"),
            "is text in UTF-16 or UTF-32 without",
        ),
        ("one\nsecret".encode("utf-32"), "is text in UTF-32, which is not read"),
    ],
)
def test_what_is_no_whole_text_is_refused_without_its_text(tmp_path, data, match):
    path = tmp_path / "a.jsonl"
    path.write_bytes(data)
    with pytest.raises(DataError, match=match) as refused:
        list(read_lines(path))
    assert "secret" not in str(refused.value)


def test_a_text_may_begin_with_the_letters_of_a_format(tmp_path):
    path = tmp_path / "a"
    path.write_text("BZhang was seen")
    assert list(read_lines(path)) == ["BZhang was seen"]


def test_broken_bytes_may_be_replaced(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"thr\xe9e\n")
    assert list(read_lines(path, errors="replace")) == ["thr\ufffde"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingError, match="no file at"):
        list(read_lines(tmp_path / "none"))


def test_a_bomb_is_refused_before_it_is_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(text_lines, "MAX_LINE", 1000)
    path: Path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"ok\n" + b"x" * 50_000_000))
    with pytest.raises(DataError, match=r"a.gz:2: a line has more than 1,000 characters"):
        list(read_lines(path))


def stream(data: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(data))


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_whole_text_is_decoded_by_the_same_rules(tmp_path, pack, encoding, end):
    data = pack(TEXT.replace("\n", end).encode(encoding))
    (tmp_path / "a").write_bytes(data)
    assert decode_text(stream(data), "stdin") == read_text(tmp_path / "a") == TEXT


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"ab\xff", r"stdin is not UTF-8 text .byte 2.\. Convert it"),
        (
            gzip.compress(b"abc" * 99, mtime=0)[:-9],
            r"stdin cannot be read: its gzip stream is cut off",
        ),
        (b"\xff\xfea", r"stdin is not UTF-8 text .byte 0.\. Convert it"),
        (b"ab\0", "stdin is no text: it holds a null character"),
        (zipped(), "stdin is a file of zip, and no text"),
    ],
)
def test_a_whole_text_that_is_none_is_refused(data, match):
    with pytest.raises(DataError, match=match):
        decode_text(stream(data), "stdin")


def test_a_whole_text_above_the_limit_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(text_lines, "MAX_LINE", 1000)
    with pytest.raises(DataError, match="stdin has more than 1,000 characters"):
        decode_text(stream(gzip.compress(b"x" * 50_000_000)), "stdin")
    with pytest.raises(MissingError, match="no file at"):
        read_text(tmp_path / "none")
