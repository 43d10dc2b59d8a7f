"""Every form of a file gives the same rows, and what is broken in it is named by its place."""

import codecs
import gzip
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from table_notes import COLUMNS, Row, rows_of, write_file

from deepicd.errors import DataError, MissingError
from deepicd.notes.table.rows import check_file, read_rows

SECRET = "SECRETWORDS"


def read(path: Path, columns: dict[str, str] | None = None) -> list[Row]:
    check_file(path, columns or COLUMNS)
    return pa.concat_tables(read_rows(path, columns or COLUMNS)).to_pylist()


def read_text(tmp_path: Path, data: str | bytes) -> list[Row]:
    path = tmp_path / "notes.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read(path)


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_every_form_gives_the_same_rows(tmp_path: Path, suffix: str, is_packed: bool) -> None:
    rows = rows_of(5)
    path = write_file(
        tmp_path / f"notes{suffix}", rows, is_packed=is_packed and suffix != ".parquet"
    )
    got = read(path, {**COLUMNS, "age": "age"})
    assert [row["note"] for row in got] == [row["text"] for row in rows]
    assert [row["patient"] for row in got] == [str(row["pid"]) for row in rows]
    assert [row["age"] for row in got] == [str(row["age"]) for row in rows]
    assert {row["sex"] for row in got} == {None}


def test_what_a_file_is_is_told_by_its_content_and_not_by_its_name(tmp_path: Path) -> None:
    for suffix in (".csv", ".jsonl", ".parquet"):
        path = write_file(tmp_path / f"one{suffix}", rows_of(3))
        other = path.rename(tmp_path / f"{suffix[1:]}.txt")
        assert len(read(other)) == 3


def test_a_folder_of_parquet_parts_is_one_file(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    for number in range(2):
        write_file(folder / f"{number}.parquet", rows_of(3))
    assert len(read(folder)) == 6


def test_parts_of_other_types_are_looked_at_one_by_one(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    long = [{**row, "pid": 12345678901234567 + one} for one, row in enumerate(rows_of(6))]
    write_file(folder / "0.parquet", long)
    write_file(folder / "1.parquet", [{**row, "pid": float(row["pid"])} for row in rows_of(3)])
    with pytest.raises(DataError, match=r"1\.parquet: column pid \(patient\) is of type double"):
        read(folder)
    write_file(folder / "1.parquet", [{**row, "pid": f"x{row['pid']}"} for row in rows_of(3)])
    assert len({row["patient"] for row in read(folder)}) == 8
    write_file(folder / "1.parquet", [{"text": "a", "pid": 1, "stay": 1}])
    with pytest.raises(DataError, match=r"1\.parquet has no column 'dx' \(code\)"):
        read(folder)


def test_whole_decimals_are_ids(tmp_path: Path) -> None:
    ids = pa.array([12345678901234567000 + one for one in range(3)], pa.decimal128(20, 0))
    path = tmp_path / "n.parquet"
    pa.parquet.write_table(column("pid", ids)(pa.Table.from_pylist(rows_of(3))), path)
    assert [row["patient"] for row in read(path)] == [str(one) for one in ids.to_pylist()]
    fractions = ids.cast(pa.decimal128(22, 2))
    pa.parquet.write_table(column("pid", fractions)(pa.Table.from_pylist(rows_of(3))), path)
    with pytest.raises(DataError, match=r"type decimal128\(22, 2\)"):
        read(path)


def test_a_wanted_column_that_stands_twice_in_parquet_is_named(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(rows_of(3))
    twice = pa.Table.from_arrays([*table.columns, table["pid"]], [*table.column_names, "pid"])
    pa.parquet.write_table(twice, tmp_path / "n.parquet")
    with pytest.raises(DataError, match="has the column pid more than once"):
        read(tmp_path / "n.parquet")


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_line_ends_and_byte_order_marks_are_understood(tmp_path: Path, mark: bytes) -> None:
    text = b'pid,text,stay,dx\r\n7,"a, b\r\nc",8,I10\r\n'
    (row,) = read_text(tmp_path, mark + text)
    assert (row["patient"], row["note"], row["code"]) == ("7", "a, b\nc", "I10")


def test_a_first_line_that_is_no_header_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of text, pid, stay, dx is among the 4") as e:
        read_text(tmp_path, f"{SECRET},1,2,I10\n")
    assert SECRET not in str(e.value)


def test_utf_16_is_read(tmp_path: Path) -> None:
    (row,) = read_text(tmp_path, "text,pid,stay,dx\nÄ,1,2,I10\n".encode("utf-16"))
    assert row["note"] == "Ä"


def test_words_for_nothing_are_nothing(tmp_path: Path) -> None:
    rows = read_text(tmp_path, "text,pid,stay,dx\na,NaN, 12,\nb, 7 ,null,I10\n")
    assert [row["patient"] for row in rows] == [None, "7"]
    assert [row["admission"] for row in rows] == ["12", None]
    assert [row["code"] for row in rows] == [None, "I10"]


@pytest.mark.parametrize("word", ["unknown", "___", "#N/A", r"\N", "\u200b", "-", "1.#IND"])
def test_what_stands_for_no_patient_is_nothing_and_of_a_race_it_may_be_a_group(
    tmp_path: Path, word: str
) -> None:
    path = tmp_path / "n.csv"
    path.write_text(f"text,pid,stay,dx,race\na,{word},{word},I10,unknown\nb,p1\u200b,2,I10,\n")
    first, second = read(path, {**COLUMNS, "race": "race"})
    assert (first["patient"], first["admission"], first["race"]) == (None, None, "unknown")
    assert second["patient"] == "p1"


def test_numbers_in_json_lose_no_digit(tmp_path: Path) -> None:
    path = tmp_path / "n.jsonl"
    path.write_text('{"text": "a", "pid": 12345678901234567890123, "stay": NaN, "dx": "I10"}\n')
    (row,) = read(path)
    assert (row["patient"], row["admission"]) == ("12345678901234567890123", None)


def test_many_rows_come_in_blocks(tmp_path: Path) -> None:
    path = write_file(tmp_path / "n.csv", [{**rows_of(1)[0], "pid": i} for i in range(2500)])
    assert [block.num_rows for block in read_rows(path, COLUMNS)] == [1024, 1024, 452]
    long = [{**rows_of(1)[0], "pid": i, "text": "x" * (1 << 20)} for i in range(9)]
    path = write_file(tmp_path / "m.jsonl", long)
    assert [block.num_rows for block in read_rows(path, COLUMNS)] == [5, 4]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_wrong_name_is_told_with_those_that_there_are(tmp_path: Path, suffix: str) -> None:
    path = write_file(tmp_path / f"n{suffix}", rows_of(3))
    with pytest.raises(
        DataError,
        match=r"no column 'TEXT' \(note\), its header is text, pid, stay, dx, age; .*note=",
    ):
        read(path, {**COLUMNS, "note": "TEXT"})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no file of notes at .*gone\.csv; correct --file"):
        check_file(tmp_path / "gone.csv", COLUMNS)


BROKEN: dict[str, tuple[str | bytes, str]] = {
    "an empty file": ("", "is empty; name a file with a header"),
    "blank lines alone": ("\n\n", "is empty"),
    "a column twice": ("text,text,pid,stay,dx\na,b,1,2,I10\n", "the column text more than once"),
    "too few values": ("text,pid,stay,dx\na,1,2,I10\nb,1\n", "row 2 .*has 2 values .*4"),
    "a quote inside": ('text,pid,stay,dx\n"a"b,1,2,I10\n', "row 1 below .* has a quote"),
    "an open quote": ('text,pid,stay,dx\na,1,2,I10\n"b,1,2,I10\nc,\n', "row 2 .*not closed"),
    "two encodings": (
        "text,pid,stay,dx\nÄ,1,2,I10\n".encode() + "Ö,1,2,I10\n".encode("latin-1"),
        "byte .* is not UTF-8. Write the file in UTF-8",
    ),
    "a cut gzip stream": (gzip.compress(b"text,pid,stay,dx\n" + b"a,1,2,I10\n" * 99)[:-9], "gzip"),
    "semicolons": ("text;pid;stay;dx\na;1;2;I10\n", "no comma in its first line, but semicolons"),
    "tabs": ("text\tpid\tstay\tdx\na\t1\t2\tI10\n", "no comma in its first line, but tabs"),
    "bars": ("text|pid|stay|dx\na|1|2|I10\n", "no comma in its first line, but bars"),
    "a setting of Excel": ("sep=,\ntext,pid,stay,dx\na,1,2,I10\n", r"sets a separator \(sep=\)"),
    "a comment": ("# by me, today\ntext,pid,stay,dx\na,1,2,I10\n", r"is a comment \(#\)"),
    "thousands of columns": (f"text,pid,stay,dx{',x' * 10_000}\n", "more than 10,000 columns"),
    "two exports": ("text,pid,stay,dx\na,1,2,I10\ntext,pid,stay,dx\n", "row 2 .* header again"),
    "a null character in JSON": (
        '{"text": "SECRET\\u0000", "pid": 1, "stay": 2, "dx": "I10"}',
        "csv:1: note holds a null character",
    ),
    "names in capitals": ("TEXT,PID,STAY,DX\na,1,2,I10\n", "its header is TEXT, PID, STAY, DX"),
    "a zip archive": (b"PK\x03\x04abc", "is a file of zip, and no text"),
    "a JSON array": ('[{"text": "a"}]', "is one JSON array; write one JSON object a line"),
    "a line cut off": ('{"text": "a", "pid": 1, "stay": 2, "dx": "I10"}\n{"text": "SECR', "csv:2"),
    "a list as a line": ('{"text": "a", "pid": 1, "stay": 2, "dx": "I10"}\n[1]\n', "csv:2: no JSO"),
    "a key twice": ('{"text": "a", "text": "b", "pid": 1, "stay": 2, "dx": "I10"}', "csv:1: a key"),
    "a list for a code": (
        '{"text": "a", "pid": 1, "stay": 2, "dx": ["I10"]}',
        "csv:1: code must be text or a number; it is a list",
    ),
    "true for a note": (
        '{"text": true, "pid": 1, "stay": 2, "dx": "I10"}',
        "csv:1: note must be text; it is true or false",
    ),
    "half a character": (
        '{"text": "\\ud83d", "pid": 1, "stay": 2, "dx": "I10"}',
        "csv:1: note holds half of a surrogate pair",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_refused_with_its_place(tmp_path: Path, name: str) -> None:
    data, message = BROKEN[name]
    with pytest.raises(DataError, match=message) as got:
        read_text(tmp_path, data)
    assert "SECR" not in str(got.value)


@pytest.mark.parametrize("age", ["1950-03-01", "old", "-3", "400"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_an_age_that_is_none_is_named_by_its_row(tmp_path: Path, age: str, suffix: str) -> None:
    rows = [{**row, "age": str(row["age"])} for row in rows_of(3)]
    rows[1]["age"] = age
    path = write_file(tmp_path / f"n{suffix}", [{**row, "text": "one line"} for row in rows])
    with pytest.raises(DataError, match=r"row 2: an age is a number of years from 0 to") as e:
        read(path, {**COLUMNS, "age": "age"})
    assert "1950" not in str(e.value)


@pytest.mark.parametrize(
    ("written", "years"), [("67.0", "67"), ("89+", "89"), (">90", "90"), ("", None)]
)
def test_ages_are_read_in_the_ways_that_tables_have(
    tmp_path: Path, written: str, years: str | None
) -> None:
    path = write_file(tmp_path / "n.csv", [{**rows_of(1)[0], "age": written}])
    assert read(path, {**COLUMNS, "age": "age"})[0]["age"] == years


WRONG_ORDERS = {
    "US dates": ("12/1/2019", "neither"),
    "a day of one digit": ("2020-1-9", "neither"),
    "a clock alone": ("9:07", "neither"),
    "a thousand with a comma": ('"1,000"', "neither"),
    "a day that is none": ("2019-02-30", "neither"),
    "words": ("first", "neither"),
    "a time among numbers": ("2019-01-02", "order is a date, and a number in the rows before"),
}


@pytest.mark.parametrize("name", WRONG_ORDERS)
def test_an_order_that_is_no_number_and_no_time_is_named_by_its_row(
    tmp_path: Path, name: str
) -> None:
    order, message = WRONG_ORDERS[name]
    path = tmp_path / "n.csv"
    path.write_text(f"text,pid,stay,dx,seq\na,1,2,I10,7\nb,1,3,I10,\nc,1,4,I10,{order}\n")
    with pytest.raises(DataError, match=f"row 3: .*{message}") as got:
        read(path, {**COLUMNS, "order": "seq"})
    assert order not in str(got.value)


def column(name: str, values: Any) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(table.schema.get_field_index(name), name, values)


TYPES = {
    "notes that are bytes": (column("text", pa.array([b"a"] * 3)), r"text \(note\) is of type bin"),
    "notes that are lists": (column("text", pa.array([["a"]] * 3)), r"type list<.*must be text\."),
    "notes that are numbers": (column("text", pa.array([1, 2, 3])), "int64; it must be tex"),
    "codes that are numbers": (column("dx", pa.array([1, 2, 3])), r"dx \(code\) is of type int64"),
    "patients that are true": (column("pid", pa.array([True] * 3)), "bool; .*text or a number"),
    "a date for a patient": (column("pid", pa.array([datetime(2180, 1, 1)] * 3)), "timestamp"),
}  # fmt: skip


@pytest.mark.parametrize("name", TYPES)
def test_a_column_of_a_wrong_type_is_named(tmp_path: Path, name: str) -> None:
    change, message = TYPES[name]
    path = tmp_path / "n.parquet"
    pa.parquet.write_table(change(pa.Table.from_pylist(rows_of(3))), path)
    with pytest.raises(DataError, match=message):
        read(path)


def test_a_damaged_parquet_file_and_one_with_broken_text_are_refused(tmp_path: Path) -> None:
    path = write_file(tmp_path / "n.parquet", rows_of(3))
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read(path)
    broken = pa.Array.from_buffers(pa.string(), 3, pa.array([b"a\xff", b"b", b"c"]).buffers())
    pa.parquet.write_table(column("text", broken)(pa.Table.from_pylist(rows_of(3))), path)
    with pytest.raises(DataError, match="text in it is not UTF-8"):
        read(path)


def test_categories_and_times_are_read(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(rows_of(3))
    table = column("dx", pa.array(["I10"] * 3).dictionary_encode())(table)
    table = table.append_column("at", pa.array([datetime(2180, 1, day) for day in (1, 2, 3)]))
    pa.parquet.write_table(table, tmp_path / "n.parquet")
    rows = read(tmp_path / "n.parquet", {**COLUMNS, "order": "at"})
    assert [row["code"] for row in rows] == ["I10"] * 3
    assert sorted(row["order"] for row in rows) == [row["order"] for row in rows]


def test_rows_of_json_may_leave_out_what_is_null(tmp_path: Path) -> None:
    path = tmp_path / "n.jsonl"
    rows = [{"text": "a", "pid": 1, "stay": 1}, {"text": "b", "pid": 2, "stay": 2, "dx": "I10"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert [row["code"] for row in read(path)] == [None, "I10"]
