"""All rows of a table together: the same notes in any order and form, and what is refused."""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from table_notes import COLUMNS, Row, cut, rows_of, summary, write_file

from deepicd.errors import DataError

WITH_IDS = {**COLUMNS, "id": "nid"}


def refuse(tmp_path: Path, rows: list[Row], message: str, **options: Any) -> None:
    with pytest.raises(DataError, match=message) as got:
        cut(write_file(tmp_path / "notes.csv", rows), tmp_path / "parts", **options)
    assert "pain number" not in str(got.value)


def changed(number: int = 20, **values: Callable[[int], object]) -> list[Row]:
    rows = rows_of(number)
    return [
        {**row, **{name: value(one) for name, value in values.items()}}
        for one, row in enumerate(rows)
    ]


def digest_of(text: str, tmp_path: Path) -> object:
    path = write_file(tmp_path / "one.csv", [{**rows_of(1)[0], "text": text}])
    return cut(path, tmp_path / "one").to_pylist()[0]["digest"]


def known(rows: Any) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in rows.drop_columns(["part", "row"]).to_pylist()]


def test_any_order_and_any_form_give_the_same_notes(tmp_path: Path) -> None:
    rows = rows_of(40)
    first = cut(write_file(tmp_path / "a.csv", rows), tmp_path / "a")
    random.Random(3).shuffle(rows)
    for suffix in (".csv", ".jsonl", ".parquet"):
        again = cut(write_file(tmp_path / f"b{suffix}", rows), tmp_path / suffix)
        assert known(again) == known(first)
    assert set(first["reason"].to_pylist()) == {""} and first.num_rows == 40


def test_the_same_note_twice_counts_once_and_the_other_is_counted(tmp_path: Path) -> None:
    rows = rows_of(20)
    other = {**rows[3], "pid": 77, "stay": 78}
    for order in (rows + [rows[2]] * 2 + [other], [other, *rows, rows[2], rows[2]]):
        cut_rows = cut(write_file(tmp_path / "n.csv", order), tmp_path / "parts")
        reasons = Counter(cut_rows["reason"].to_pylist())
        assert reasons == {"": 20, "later_summary": 2, "repeated_text": 1}


def test_the_first_note_of_an_admission_counts_by_the_column_that_orders(tmp_path: Path) -> None:
    rows = [{**row, "seq": 10} for row in rows_of(20)]
    rows += [{**rows[0], "text": summary(99), "seq": 9}]
    for order in (rows, rows[::-1]):
        path = write_file(tmp_path / "n.csv", order)
        marked = cut(path, tmp_path / "parts", {**COLUMNS, "order": "seq"}).to_pylist()
        of_admission = [row for row in marked if row["admission_id"] == "5000"]
        kept = [row for row in of_admission if not row["reason"]]
        assert len(of_admission) == 2
        assert [row["digest"] for row in kept] == [digest_of(summary(99), tmp_path)]
    refuse(tmp_path, rows, r"1 of 20 .* several different ones, .*--columns order=COLUMN")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        *(("9.5", "10.5"), ("-10", "-9"), ("999", "1e3"), ("0" * 9 + "9", "10")),
        ("1234567890123456789012345", "1234567890123456789012346"),
        ("2019-01-02", "2019-12-01"),
        ("2019-01-02T23:00:00+02:00", "2019-01-02T22:00:00Z"),
    ],
)
def test_the_earlier_of_two_orders_counts_whatever_their_form(
    tmp_path: Path, first: str, second: str
) -> None:
    rows = [{**row, "seq": second} for row in rows_of(20)]
    rows += [{**rows[0], "text": summary(99), "seq": first}]
    for suffix in (".csv", ".parquet"):
        path = write_file(tmp_path / f"n{suffix}", rows)
        marked = cut(path, tmp_path / "parts", {**COLUMNS, "order": "seq"}).to_pylist()
        kept = [row for row in marked if row["admission_id"] == "5000" and not row["reason"]]
        assert [row["digest"] for row in kept] == [digest_of(summary(99), tmp_path)]


@pytest.mark.parametrize(("first", "second"), [("", "5"), ("5", ""), ("5", "5.0"), ("", "")])
def test_an_admission_whose_first_note_is_open_is_refused_also_with_a_column_that_orders(
    tmp_path: Path, first: str, second: str
) -> None:
    rows = [{**row, "seq": first} for row in rows_of(20)]
    rows += [{**rows[0], "text": summary(99), "seq": second}]
    message = "1 of 20 .* no or the same order says which .*Give each note .* its own seq"
    refuse(tmp_path, rows, message, columns={**COLUMNS, "order": "seq"})


def test_notes_that_are_equal_or_later_need_no_order_of_their_own(tmp_path: Path) -> None:
    rows = [{**row, "seq": 1} for row in rows_of(20)]
    rows += [{**rows[0], "seq": 1}, {**rows[1], "text": summary(98), "seq": 2}]
    rows += [{**rows[1], "text": summary(99), "seq": 2}]
    path = write_file(tmp_path / "n.csv", rows)
    reasons = cut(path, tmp_path / "parts", {**COLUMNS, "order": "seq"})["reason"].to_pylist()
    assert Counter(reasons) == {"": 20, "later_summary": 3}


@pytest.mark.parametrize("missing", ["", "NaN", "null", "<NA>"])
def test_a_missing_patient_is_refused_and_a_missing_admission_counted(
    tmp_path: Path, missing: str
) -> None:
    rows = changed(pid=lambda one: missing if one in (3, 4) else one)
    refuse(tmp_path, rows, r"every note needs an id and pid; 2 of 20 lack one")
    rows = changed(stay=lambda one: missing if one in (3, 4) else one)
    reasons = cut(write_file(tmp_path / "n.csv", rows), tmp_path / "parts")["reason"].to_pylist()
    assert Counter(reasons) == {"": 18, "no_admission_id": 2}


REFUSED: dict[str, tuple[dict[str, Callable[[int], object]], str]] = {
    "patients that are fractions": (
        {"pid": lambda one: one + 0.5},
        "20 values of pid in .* are fractions or rounded",
    ),
    "admissions that are rounded": (
        {"stay": lambda one: f"{one}.0"},
        "20 values of stay in .* are fractions or rounded",
    ),
    "an admission of two patients": (
        {"stay": lambda one: one // 2},
        "an admission has one patient; .* of 10 in .* have several",
    ),
    "all codes invalid": (
        {"dx": lambda one: f"QQ{one}"},
        r"of 20 in .* 20 are in no release .*Correct dx, or name the right column \(--columns",
    ),
    "ICD-9 codes": ({"dx": lambda one: "410.71"}, "20 are in no release"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_columns_that_cannot_be_right_are_refused(tmp_path: Path, name: str) -> None:
    values, message = REFUSED[name]
    refuse(tmp_path, changed(**values), message)


def test_an_admission_with_two_codes_is_refused_whatever_form_they_have(tmp_path: Path) -> None:
    rows = rows_of(20)
    refuse(tmp_path, [*rows, {**rows[0], "dx": "J189"}], "one principal code; 1 of 20 .* have sev")
    same = [*rows, {**rows[0], "dx": "i214"}]
    cut_rows = cut(write_file(tmp_path / "n.csv", same), tmp_path / "parts")
    assert Counter(cut_rows["reason"].to_pylist()) == {"": 20, "later_summary": 1}


def test_a_note_id_that_is_named_must_be_there_and_unique(tmp_path: Path) -> None:
    rows = changed(nid=lambda one: f"n{one // 2}")
    refuse(tmp_path, rows, "note ids must be unique; 10 repeat in", columns=WITH_IDS)
    rows = changed(nid=lambda one: "" if one == 5 else f"n{one}")
    refuse(tmp_path, rows, "every note needs nid and pid; 1 of 20 lack one", columns=WITH_IDS)
    rows = changed(nid=lambda one: f"n{one:02}")
    got = cut(write_file(tmp_path / "n.csv", rows), tmp_path / "parts", WITH_IDS)
    assert got["note_id"].to_pylist() == [f"n{one:02}" for one in range(20)]


def test_summaries_that_are_called_admission_notes_are_refused_with_the_way_out(
    tmp_path: Path,
) -> None:
    refuse(
        tmp_path,
        rows_of(20),
        "100% of 20 notes in .* have a section of the stay .*Leave --sections out",
        sections="keep",
    )


def test_admission_notes_are_kept_and_single_late_ones_counted(tmp_path: Path) -> None:
    rows = changed(text=lambda one: f"HPI: pain since day {one}\nPMH: gout")
    rows[4]["text"] += "\nDischarge Diagnosis: gout"
    got = cut(write_file(tmp_path / "n.csv", rows), tmp_path / "parts", sections="keep")
    assert Counter(got["reason"].to_pylist()) == {"": 19, "late_section": 1}
