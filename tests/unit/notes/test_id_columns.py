"""Columns of ids: what `identifiers` says of one value, said of a column."""

import re
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deepicd.errors import DataError
from deepicd.identifiers import MAX_LENGTH, parse_id
from deepicd.notes.id_columns import (
    ROW,
    check_ids,
    check_types,
    check_unique,
    drop_missing,
    trim_ids,
)

PATH = Path("t.csv")


def table_of(values: list[str | None], first: int = 1) -> pa.Table:
    rows = range(first, first + len(values))
    return pa.table({"id": pa.array(values, pa.string()), ROW: pa.array(rows, pa.int64())})


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=MAX_LENGTH + 5))
@example("NaN")
@example("20001.0")
@example("\u0661.\u0660")
@example("a" * (MAX_LENGTH + 1))
@example("a\x85b")
@example("___")
@example("\u200b")
@example("(null)")
@example("p1\u200b")
@example("caf\ufffd")
@example("患者七")
@example("\u2013")
def test_a_column_refuses_what_a_single_value_is_refused_for(text):
    trimmed = trim_ids(pa.array([text]))[0].as_py()
    try:
        parse_id(trimmed)
    except ValueError as error:
        with pytest.raises(DataError, match=re.escape(f"t.csv, row 2: id {error}.")):
            check_ids(table_of(["7", trimmed]), ["id"], PATH)
    else:
        check_ids(table_of(["7", trimmed]), ["id"], PATH)


def test_a_missing_value_is_named_by_its_row_in_the_whole_table():
    with pytest.raises(DataError, match=r"t\.csv, row 1,002: id .* it is null"):
        check_ids(table_of(["a", "b", None], first=1000), ["id"], PATH)


def test_ids_repeat_neither_in_a_piece_nor_across_pieces():
    seen: set[str] = set()
    check_unique(table_of(["a", "b"]), "id", PATH, rule="a note has one row", seen=seen)
    with pytest.raises(DataError, match=r"row 4: id stood in an earlier row; a note has one row"):
        check_unique(
            table_of(["c", "b"], first=3), "id", PATH, rule="a note has one row", seen=seen
        )
    check_unique(table_of(["c", "b"], first=3), "id", PATH, rule="a note has one row")


def test_what_may_be_missing_becomes_null():
    values = drop_missing(pa.array(["7", "", "NaN", None, "None", "20001.0"]))
    assert values.to_pylist() == ["7", None, None, None, None, "20001.0"]


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.int8(), pa.int64(), pa.uint64(), pa.string(), pa.large_string(), pa.null()),
        *(pa.decimal128(18, 0), pa.dictionary(pa.int32(), pa.string())),
    ],
)
def test_text_and_whole_numbers_hold_ids(kind):
    check_types({"id": kind}, ["id"], PATH)


@pytest.mark.parametrize(
    "kind", [pa.float32(), pa.float64(), pa.decimal128(18, 1), pa.bool_(), pa.date32(), pa.binary()]
)
def test_other_types_hold_none(kind):
    with pytest.raises(
        DataError, match=r"t\.csv: column id must hold ids as text or whole numbers"
    ):
        check_types({"id": kind}, ["id"], PATH)
