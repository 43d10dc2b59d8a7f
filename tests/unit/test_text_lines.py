"""Text files from anywhere: byte-order marks, encodings, line ends, compression, bombs."""

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd import text_lines
from deepicd.errors import DataError, MissingError
from deepicd.text_lines import decode_text, read_lines

LINES = ["one", "tw\u00f6", "", "thr\u4e09e"]
TEXT = "\n".join(LINES) + "\n"


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


def test_a_file_of_several_gzip_members_is_read_whole(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"".join(gzip.compress(f"{line}\n".encode()) for line in LINES))
    assert list(read_lines(path)) == LINES


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))))
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
        (gzip.compress(TEXT.encode() * 99)[:-9], r"cannot be read behind line \d+ .EOFError"),
        (b"one\ntwo\nthr\xe9e secret\n", "is not utf-8. Write the file in UTF-8"),
    ],
)
def test_what_is_no_whole_text_is_refused_without_its_text(tmp_path, data, match):
    path = tmp_path / "a.jsonl"
    path.write_bytes(data)
    with pytest.raises(DataError, match=match) as refused:
        list(read_lines(path))
    assert "secret" not in str(refused.value)


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


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_whole_text_is_decoded_by_the_same_rules(pack, encoding):
    text = TEXT.replace("\n", "\r\n")
    assert decode_text(pack(text.encode(encoding)), "stdin") == text


def test_a_whole_text_that_is_none_is_refused(monkeypatch):
    with pytest.raises(DataError, match=r"stdin is not UTF-8 text .byte 2.\. Convert it"):
        decode_text(b"ab\xff", "stdin")
    with pytest.raises(DataError, match=r"stdin cannot be unpacked .EOFError"):
        decode_text(gzip.compress(b"abc" * 99)[:-9], "stdin")
    monkeypatch.setattr(text_lines, "MAX_LINE", 1000)
    with pytest.raises(DataError, match="stdin has more than 1,000 characters"):
        decode_text(gzip.compress(b"x" * 50_000_000), "stdin")
