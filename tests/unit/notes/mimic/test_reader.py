"""Rows of MIMIC-IV tables → notes, or the reason why one is left out."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from deepicd.errors import DataError, MissingError
from deepicd.notes.mimic import admission_facts, reader, row_checks, tables
from deepicd.notes.mimic.columns import REASONS


def rows_of(notes: list[dict[str, str]], labels: dict[str, str]) -> list[dict[str, str]]:
    base = {"subject_id": "1", "note_type": "DS", "note_seq": "1", "text": "CC: fall"}
    block = pa.Table.from_pylist([{**base, **note} for note in notes])
    codes_ = pa.table({"hadm_id": list(labels), "icd_code": list(labels.values())})
    admissions = pa.table(
        {"hadm_id": ["10"], "subject_id": ["1"], "race": ["WHITE"], "insurance": ["Other"]}
    )
    patients = pa.table({"subject_id": ["1"], "gender": ["F"], "anchor_age": ["67"]})
    return admission_facts.AdmissionFacts(codes_, admissions, patients).to_rows(block).to_pylist()


def test_a_row_joins_label_and_subgroups() -> None:
    (row,) = rows_of([{"note_id": "n", "hadm_id": "10"}], {"10": "I2510"})
    wanted = {"code": "I2510", "text": "CHIEF COMPLAINT: fall", "reason": "", "age_band": "60-69"}
    assert wanted.items() <= row.items()
    assert (row["sex"], row["race"], row["insurance"]) == ("F", "WHITE", "Other")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"note_type": "AD"}, "addendum"),
        ({"hadm_id": ""}, "no_admission_id"),
        ({"hadm_id": "11"}, "no_icd10_principal"),
        ({"hadm_id": "12"}, "unknown_code"),
        ({"text": "Allergies: NKDA"}, "no_core_section"),
        ({"text": " \n"}, "empty_text"),
    ],
)
def test_a_note_is_left_out_with_its_reason(change: dict[str, str], reason: str) -> None:
    rows = rows_of([{"note_id": "n", "hadm_id": "10", **change}], {"10": "I2510", "12": "I9999"})
    assert [(row["reason"], row["text"]) for row in rows] == [(reason, "")]
    assert reason in REASONS


def test_the_first_summary_of_an_admission_counts_and_a_text_counts_once(tmp_path: Path) -> None:
    notes = [
        {"note_id": "a", "hadm_id": "10", "note_seq": "12", "text": "CC: later"},
        {"note_id": "b", "hadm_id": "10", "note_seq": "3", "text": "CC: first"},
        {"note_id": "c", "hadm_id": "11", "text": "CC: first"},
    ]
    rows = pa.Table.from_pylist(rows_of(notes, {"10": "I2510", "11": "I214"}))
    marked = row_checks.mark_repeats(reader.write_cut(rows, tmp_path))["reason"].to_pylist()
    assert marked == ["later_summary", "", "repeated_text"]


@pytest.mark.parametrize(
    ("age", "band"), [("18", "10-19"), ("67", "60-69"), ("91", "80+"), ("", None), (None, None)]
)
def test_ages_fall_into_bands(age: str | None, band: str | None) -> None:
    assert admission_facts.age_band(age) == band


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([("1", "banana")], r"must be an ICD-10-CM code .* of 1 in t.csv 1 are in no release"),
    ],
)
def test_broken_labels_are_refused(rows: list[tuple[str, str]], match: str) -> None:
    table = pa.table({"hadm_id": [r[0] for r in rows], "icd_code": [r[1] for r in rows]})
    with pytest.raises(DataError, match=match):
        admission_facts.principal_diagnoses(table, Path("t.csv"))


def test_the_code_table_alone_decides_what_a_code_is() -> None:
    rows = [("1", "QA00101"), ("2", "I2510"), ("3", "I214"), ("4", "I9999")]
    table = pa.table({"hadm_id": [r[0] for r in rows], "icd_code": [r[1] for r in rows]})
    labels = admission_facts.principal_diagnoses(table, Path("t.csv"))
    assert labels["icd_code"].to_pylist() == ["QA00101", "I2510", "I214", "I9999"]
    known = admission_facts.AdmissionFacts(
        labels, pa.table({"hadm_id": []}), pa.table({"subject_id": []})
    )
    assert set(known.billable.to_pylist()) == {"QA00101", "I2510", "I214"}


@pytest.mark.parametrize(
    ("time", "age", "year", "then"),
    [
        ("2189-03-01 04:00:00", "52", "2180", "61"),
        ("2178-03-01", "52", "2180", "50"),
        (None, "52", "2180", "52"),
        ("2189-03-01", None, "2180", None),
        ("2189-03-01", "52", None, "52"),
    ],
)
def test_an_age_is_the_one_at_admission(
    time: str | None, age: str | None, year: str | None, then: str | None
) -> None:
    assert admission_facts.age_at(time, age=age, year=year) == then


@pytest.mark.parametrize("age", ["\u00b2", "9" * 5000, "six", "-1", "\u0663"])
def test_what_is_no_number_of_years_has_no_band(age: str) -> None:
    assert admission_facts.age_band(age) is None
    assert admission_facts.age_at("2189-03-01", age=age, year="2180") == age


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("anchor_age", "six", r"row 2: anchor_age must be a number of years from 0 to 130"),
        ("anchor_age", "-1", r"row 2: anchor_age must be a number of years"),
        ("anchor_age", "131", r"row 2: anchor_age must be a number of years"),
        ("anchor_age", "52.5", r"row 2: anchor_age must be a number of years"),
        ("anchor_age", "\u0662", r"row 2: anchor_age must be a number of years"),
        ("anchor_age", "9" * 5000, r"row 2: anchor_age must be a number of years"),
        ("anchor_year", "2017 - 2019", r"row 2: anchor_year must be a year of four digits"),
        ("anchor_year", "21800", r"row 2: anchor_year must be a year"),
        ("admittime", "03/01/2189 04:00", r"row 2: admittime must begin with its year"),
        ("admittime", "01.03.89", r"row 2: admittime must begin with its year"),
        ("admittime", "1.2e9", r"row 2: admittime must begin with its year"),
    ],
)
def test_a_number_that_is_not_what_its_column_says_is_refused_by_row(
    tmp_path: Path, name: str, value: str, match: str
) -> None:
    columns = {"subject_id": "1", "anchor_age": "52", "anchor_year": "2180", "gender": "F"}
    table = "hosp/patients"
    if name == "admittime":
        columns = {"hadm_id": "5", "subject_id": "1", "race": "", "insurance": "", "admittime": ""}
        table = "hosp/admissions"
    rows = [columns, {**columns, next(iter(columns)): "7", name: value}]
    path = tmp_path / "t.csv"
    path.write_text(
        "\n".join(",".join(row) for row in [list(columns), *(r.values() for r in rows)])
    )
    with pytest.raises(DataError, match=match) as refused:
        reader._read_short(path, table)
    assert value not in str(refused.value)


def test_labels_may_be_padded_dotted_and_lower_case() -> None:
    table = pa.table({"hadm_id": ["1", "2", "3"], "icd_code": ["i25.10", "I214   ", "C4A9"]})
    labels = admission_facts.principal_diagnoses(table, Path("t.csv"))
    assert labels["icd_code"].to_pylist() == ["I2510", "I214", "C4A9"]


def test_a_missing_table_and_a_missing_column_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no table note/discharge under"):
        tables.find_table(tmp_path, "note/discharge")
    table = tmp_path / "t.csv"
    table.write_text("note_id,TEXT\n1,x\n")
    with pytest.raises(DataError, match=r"t\.csv has no column text, its header is note_id, TEXT"):
        tables.check_columns(table, ("note_id", "text"))
    broken = tmp_path / "t.csv.gz"
    broken.write_bytes(gzip.compress(b"note_id,text\n" * 1000)[:12])
    with pytest.raises(
        DataError, match=r"t\.csv\.gz cannot be read: .* cut off: it ends at byte 12 "
    ):
        tables.check_columns(broken, ("note_id",))


# ---- ids of a table: typed once, refused with column and row

SECRET = "SECRETWORDS"
NOTE_HEADER = "note_id,subject_id,hadm_id,note_type,note_seq,text\n"


def write_notes(folder: Path, *ids: str) -> Path:
    path = folder / "discharge.csv"
    rows = "".join(f'{row},DS,1,"CC: {SECRET}\nHPI: {SECRET}"\n' for row in ids)
    path.write_text(NOTE_HEADER + rows)
    return path


def test_notes_are_read_with_trimmed_ids_and_an_admission_may_be_missing(tmp_path: Path) -> None:
    path = write_notes(tmp_path, " a-1 ,7, 20001", "b,8,", "c,8,NaN")
    (piece,) = reader.read_notes(path)
    ids = [list(row.values())[:3] for row in piece.to_pylist()]
    assert ids == [["a-1", "7", "20001"], ["b", "8", None], ["c", "8", None]]
    assert piece.column_names == NOTE_HEADER.strip().split(",")


@pytest.mark.parametrize(
    ("row", "match"),
    [
        (",8,2", "row 2: note_id must be text or a whole number; it is nothing or a word for it"),
        ("b,,2", "row 2: subject_id .* nothing or a word for it"),
        ("b,NaN,2", "row 2: subject_id .* nothing or a word for it"),
        ("b,8.0,2", r"row 2: subject_id .* written as a fraction \(such as 20001\.0"),
        ("b,1e+07,2", "row 2: subject_id .* written as a fraction"),
        ("b,8,20001.0", "row 2: hadm_id .* written as a fraction"),
        ("3.5,8,2", "row 2: note_id .* written as a fraction"),
        (f"{SECRET * 20},8,2", "row 2: note_id .* longer than 128 characters"),
        (f'"b\n{SECRET}",8,2', "row 2: note_id .* of several lines"),
        ("a,8,2", "row 2: note_id stood in an earlier row; a note has one row"),
    ],
)
def test_an_id_of_a_note_that_is_none_is_refused_with_its_row(
    tmp_path: Path, row: str, match: str
) -> None:
    path = write_notes(tmp_path, "a,7,1", row)
    with pytest.raises(DataError, match=rf"discharge\.csv, {match}") as refused:
        list(reader.read_notes(path))
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "rows", "match"),
    [
        ("hosp/diagnoses_icd", ["1,1,I214,10", "1,2,I10,10", "1,1,I10,10"], "row 3: hadm_id stood"),
        ("hosp/diagnoses_icd", ["1,2,I214,10", ",1,I10,10"], "row 2: hadm_id .* nothing or a word"),
        ("hosp/diagnoses_icd", ["1.0,1,I214,10"], "row 1: hadm_id .* written as a fraction"),
        ("hosp/admissions", ["1,7,W,M", "2,,W,M"], "row 2: subject_id .* nothing or a word"),
        ("hosp/admissions", ["1,7,W,M", "1,7,W,M"], "row 2: hadm_id .* an admission has one row"),
        ("hosp/patients", ["7,F,60", "7,M,60"], "row 2: subject_id .* a patient has one row"),
        ("hosp/patients", ["7.0,F,60"], "row 1: subject_id .* written as a fraction"),
    ],
)
def test_an_id_of_a_short_table_that_is_none_or_repeats_is_refused_with_its_row(
    tmp_path: Path, name: str, rows: list[str], match: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\n".join([",".join(reader._SHORT[name]), *rows]) + "\n")
    with pytest.raises(DataError, match=rf"t\.csv, {match}"):
        reader._read_short(path, name)


def test_other_diagnoses_than_principal_ones_may_repeat_an_admission(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("hadm_id,seq_num,icd_code,icd_version\n1,1.0,I214,10\n1,2,I10,10\n1,1,410,9\n")
    table = reader._read_short(path, "hosp/diagnoses_icd")
    assert [row["icd_code"] for row in table.to_pylist()] == ["I214"]
