"""CSV files from anywhere: marks, encodings, line ends, compression, and every fault of a CSV."""

import csv
import gzip
import io
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd.errors import DataError, MissingError
from deepicd.notes import csv_table
from deepicd.notes.csv_table import read_csv, read_header

SECRET = "SECRETWORDS"
TEXT = 'extra,id, text \nx,1,"one, ""two""\nthree"\ny,2,tw\u00f6\n'
ROWS = [{"id": "1", "text": 'one, "two"\nthree'}, {"id": "2", "text": "tw\u00f6"}]
COLUMNS = ("id", "text")


def read(path: Path) -> list[dict[str, str]]:
    return [row for piece in read_csv(path, COLUMNS) for row in piece.to_pylist()]


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_every_form_of_a_table_gives_the_same_rows(tmp_path, pack, encoding, end, name):
    text = TEXT.replace("\n", end)
    is_le = encoding == "utf-16-le-mark"
    data = b"\xff\xfe" + text.encode("utf-16-le") if is_le else text.encode(encoding)
    path = tmp_path / name
    path.write_bytes(pack(data))
    assert read(path) == ROWS
    assert read_header(path) == ["extra", "id", "text"]


@pytest.mark.parametrize("padding", [0, 1, 511, 10_000])
def test_gzip_of_several_members_with_zeros_behind_them_is_whole(tmp_path, padding):
    path = tmp_path / "t.csv"
    data = TEXT.encode()
    packed = b"".join(gzip.compress(data[i : i + 7]) for i in range(0, len(data), 7))
    path.write_bytes(packed + b"\0" * padding)
    assert read(path) == ROWS


def test_a_wanted_name_of_any_length_is_cut_in_the_message(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,text\n")
    with pytest.raises(DataError, match="has no column aaa") as refused:
        list(read_csv(path, ["a" * 100_000]))
    assert len(str(refused.value)) < 3000


@pytest.mark.parametrize("body", ["", "\n", "\n\n\n", "\r\n"])
def test_a_header_without_rows_gives_none(tmp_path, body):
    path = tmp_path / "t.csv"
    path.write_text("id,text" + body)
    assert read(path) == []


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", r"t\.csv is empty"),
        (b"\n\n", r"t\.csv is empty"),
        (b"id,note\n1,2\n", "has no column text, its header is id, note"),
        (b"SECRETWORDS,2\n1,2\n", "has no column id, text, none of id, text is among the 2 values"),
        (b"id,text,id\n1,2,3\n", "has the column id more than once"),
        (b'id,"text\n1,SECRETWORDS\n', "has a header with a quote that is not closed"),
        (b"id,text\n1,2\nSECRETWORDS\n", r"row 2 below its header \(line 3\) has 1 values where"),
        (
            b'id,text\n1,"a\nb"\n1,2,SECRETWORDS\n',
            r"row 2 below its header \(line 4\) has 3 values",
        ),
        (b'id,text\n1,2\n3,"SECRETWORDS\n4,5\n', r"row 2 below its header \(line 3\) has a quote"),
        (b'id,text\n1,"SECRETWORDS\n3,"4\n', r"row 1 below its header \(line 2\) has a quote"),
        (b'id,text\n1,"2"SECRETWORDS\n', r"row 1 below its header \(line 2\) has a quote"),
        (b"id,text\n1,SECRETWORDS\0\n", "byte 21 of its text is a null character"),
        (
            "id,text\n1,SECRETWORDS\n".encode("utf-16-le"),
            "is text in UTF-16 or UTF-32 without",
        ),
        (b"id,text\n1,SECRETWORDS\xe9\n", "byte 21 of its text is not UTF-8"),
        (b"\xef\xbb\xbfid,text\n1,\xe9\n", "byte 13 of its text is not UTF-8"),
        (b"id,text\n1,\xc3", "byte 10 of its text is not UTF-8"),
        (b"PK\x03\x04 and so on", "is a file of zip, and no text"),
        (b"PAR1 and so on", "is a file of Parquet, and no text"),
        (gzip.compress(TEXT.encode() * 999, mtime=0)[:200], "cut off: it ends at byte 200 without"),
        (gzip.compress(TEXT.encode(), mtime=0) + b"more", "its gzip stream is damaged before byte"),
    ],
)
def test_every_fault_is_refused_with_its_place_and_without_its_text(tmp_path, data, match):
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    with pytest.raises(DataError, match=match) as refused:
        read(path)
    assert SECRET not in str(refused.value)


def test_a_damaged_gzip_stream_is_named(tmp_path):
    path = tmp_path / "t.csv.gz"
    packed = bytearray(gzip.compress(bytes(range(1, 256)) * 400, 1))
    packed[200:260] = b"\x00" * 60
    path.write_bytes(packed)
    with pytest.raises(DataError, match=r"t\.csv\.gz cannot be read: its gzip stream is damaged"):
        read(path)


@pytest.mark.parametrize("before", [0, (1 << 20) - 20, (1 << 20) - 11, 3 << 20])
def test_the_byte_that_is_no_text_is_named_wherever_pieces_end(tmp_path, before):
    path = tmp_path / "t.csv"
    start = b"id,text\n1," + b"a" * before + "\u00fc".encode()
    path.write_bytes(start + b"\xff rest\n")
    with pytest.raises(DataError, match=rf"byte {len(start):,} of its text is not UTF-8"):
        read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingError, match="no file at"):
        read(tmp_path / "none.csv")


def test_columns_that_nobody_asked_for_may_share_a_name(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,x,text,x\n1,2,3,4\n")
    assert read(path) == [{"id": "1", "text": "3"}]


def test_a_quote_within_a_value_without_quotes_is_a_character(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('id,text\n1,5" tall\n2,"x ""y"" z"\n')
    assert [row["text"] for row in read(path)] == ['5" tall', 'x "y" z']


def test_a_row_above_the_limit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_table, "PIECE_BYTES", 1000)
    path = tmp_path / "t.csv"
    path.write_text("id,text\n1,a\n2," + '"' + "line,\n" * 900 + '"\n3,b\n')
    with pytest.raises(DataError, match=r"row 2 below its header \(line 3\) is above 1,000"):
        read(path)


values = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\ufeff"), max_size=30
)


@given(st.lists(st.tuples(values, values), max_size=20), st.integers(1, 40))
def test_whatever_a_writer_of_csv_writes_comes_back(tmp_path_factory, rows, num_bytes):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([COLUMNS, *rows])
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_bytes(text.getvalue().encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deepicd.text_lines.PIECE_BYTES", num_bytes)  # marks fall between pieces
        assert [tuple(row.values()) for row in read(path)] == rows


@given(st.lists(st.sampled_from([b'"', b",", b"\n", b"a", b'""', b'"a"', b"\r"]), max_size=12))
def test_rows_never_run_together_unseen(tmp_path_factory, parts):
    """What is read is what a strict reader of CSV reads, or it is refused."""
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_bytes(b"id,text\n" + b"".join(parts))
    body = path.read_text().replace("\r\n", "\n").replace("\r", "\n")
    try:
        wanted = [row for row in csv.reader(io.StringIO(body), strict=True) if row][1:]
    except csv.Error:
        wanted = None
    if wanted is None or any(len(row) != 2 for row in wanted):
        with pytest.raises(DataError, match="row"):
            read(path)
    else:
        assert [list(row.values()) for row in read(path)] == wanted


BOMB = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
from pathlib import Path
from deepicd.notes.csv_table import read_csv
list(read_csv(Path(sys.argv[1]), ("id", "text")))
"""


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"x" * (100 << 20), b"has a header of more than 1,048,576 bytes"),
        (b"a," * (50 << 20), b"has a header of more than 1,048,576 bytes"),
        (
            b'id,text\n1,"' + b"x" * (100 << 20),
            b"t.csv:2: a line has more than 16,777,216 characters",
        ),
    ],
    ids=["one name", "many names", "one value"],
)
def test_a_bomb_is_refused_within_two_gigabytes(tmp_path, data, match):
    path = tmp_path / "t.csv"
    path.write_bytes(gzip.compress(data, 1))
    done = subprocess.run([sys.executable, "-c", BOMB, str(path)], capture_output=True, check=False)
    assert match in done.stderr and b"DataError" in done.stderr
