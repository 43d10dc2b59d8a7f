"""Tables of MIMIC-IV without Ray: forms, layouts, ids, and what each fault is called."""

import gzip
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from deepicd.errors import DataError, MissingError
from deepicd.notes.id_columns import ROW
from deepicd.notes.mimic import row_checks, tables

SECRET = "SECRETWORDS"
TABLE = pa.table({"extra": ["x", "y"], "hadm_id": [20001, 20002], "icd_code": ["I21.4 ", "J189"]})
ROWS = [
    {"hadm_id": "20001", "icd_code": "I21.4", ROW: 1},
    {"hadm_id": "20002", "icd_code": "J189", ROW: 2},
]
COLUMNS = ("hadm_id", "icd_code")


def write_form(folder: Path, suffix: str) -> Path:
    """`TABLE` as csv, csv.gz, a parquet file or a folder of parquet parts."""
    path = folder / f"diagnoses_icd{suffix.removesuffix('/')}"
    if suffix == ".parquet":
        pa.parquet.write_table(TABLE, path)
    elif suffix == ".parquet/":
        path.mkdir()
        for row in range(2):
            pa.parquet.write_table(TABLE.slice(row, 1), path / f"{row}.parquet")
    else:
        text = "\ufeffextra,hadm_id,icd_code\nx,20001,I21.4 \ny, 20002,J189\n".encode()
        path.write_bytes(gzip.compress(text) if suffix.endswith(".gz") else text)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet", ".parquet/"])
def test_a_table_of_any_form_gives_the_same_strings(tmp_path: Path, suffix: str) -> None:
    path = write_form(tmp_path, suffix)
    blocks = list(tables.read_batches(path, COLUMNS))
    assert pa.concat_tables(blocks).to_pylist() == ROWS


@pytest.mark.parametrize(
    "layout", ["hosp", "mimic-iv-3.1/hosp", "mimiciv/2.2/hosp", "physionet/mimic-iv-2.2/hosp"]
)
def test_tables_are_found_in_every_layout(tmp_path: Path, layout: str) -> None:
    folder = tmp_path / layout
    folder.mkdir(parents=True)
    path = write_form(folder, ".csv.gz")
    assert tables.find_table(tmp_path, "hosp/diagnoses_icd") == path


def test_two_releases_under_one_root_are_refused_by_name(tmp_path: Path) -> None:
    for release in ("2.2", "3.1"):
        (tmp_path / "mimiciv" / release / "hosp").mkdir(parents=True)
    with pytest.raises(DataError, match=r"hosp/ of several releases: .*2\.2/hosp, .*3\.1/hosp"):
        tables.find_table(tmp_path, "hosp/diagnoses_icd")


def test_a_number_that_went_through_a_float_is_whole_again_and_an_id_is_not(tmp_path: Path) -> None:
    path = tmp_path / "patients.csv"
    path.write_text("subject_id,anchor_age\n7.0,67.0\n")
    (block,) = tables.read_batches(path, ("subject_id", "anchor_age"))
    assert block.to_pylist() == [{"subject_id": "7.0", "anchor_age": "67", ROW: 1}]


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1 no parquet")
    with pytest.raises(DataError, match=r"t\.parquet cannot be read as Parquet"):
        tables.check_columns(path, COLUMNS)
    write_form(tmp_path, ".parquet")
    with pytest.raises(DataError, match=r"has no column seq_num, its header is extra, hadm_id"):
        tables.check_columns(tmp_path / "diagnoses_icd.parquet", ("hadm_id", "seq_num"))


@pytest.mark.parametrize("kind", [pa.float64(), pa.bool_(), pa.timestamp("s")])
def test_a_parquet_column_of_ids_must_be_of_a_type_that_holds_ids(tmp_path: Path, kind) -> None:
    path = tmp_path / "t.parquet"
    values = pa.array([1, 0], pa.int64()).cast(kind)
    pa.parquet.write_table(pa.table({"hadm_id": values, "icd_code": ["a", "b"]}), path)
    with pytest.raises(DataError, match=r"t\.parquet: column hadm_id must hold ids as text or"):
        list(tables.read_batches(path, COLUMNS))


def test_a_part_with_rounded_ids_does_not_round_those_of_the_others(tmp_path: Path) -> None:
    path = write_form(tmp_path, ".parquet/")
    part = path / "2.parquet"
    rounded = pa.table({"hadm_id": [1.0], "icd_code": ["I10"]})
    pa.parquet.write_table(rounded, part)
    with pytest.raises(DataError, match=r"2\.parquet: column hadm_id .* type double"):
        tables.check_columns(path, COLUMNS)
    pa.parquet.write_table(rounded.drop_columns("icd_code"), part)
    with pytest.raises(DataError, match=r"2\.parquet has no column icd_code"):
        tables.check_columns(path, COLUMNS)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_and_folders_that_may_not_be_read_are_refused(tmp_path: Path) -> None:
    path = write_form(tmp_path, ".csv")
    path.chmod(0)
    with pytest.raises(DataError, match=r"diagnoses_icd\.csv may not be read"):
        tables.check_columns(path, COLUMNS)
    tmp_path.chmod(0)
    try:
        with pytest.raises(DataError, match="may not be read"):
            tables.find_table(tmp_path, "hosp/diagnoses_icd")
    finally:
        tmp_path.chmod(0o700)


def test_an_empty_root_names_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no table hosp/patients .*\.csv\.gz, \.csv, \.parquet"):
        tables.find_table(tmp_path, "hosp/patients")


# ---- rows that do not belong together


def check_together(rows: pa.Table) -> None:
    row_checks.check_owners(rows, ADMISSIONS, Path("n.csv"))


ADMISSIONS = pa.table({"hadm_id": ["1", "2"], "subject_id": ["7", "8"]})


def rows_of(*rows: tuple[str | None, str | None, str]) -> pa.Table:
    note_id, patient_id, admission_id = (list(column) for column in zip(*rows, strict=True))
    columns = {"note_id": note_id, "patient_id": patient_id, "admission_id": admission_id}
    return pa.table({**columns, "reason": pa.array([""] * len(rows))})


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([("a", "7", "1"), ("b", "7", "2")], "0 name an admission .* and 1 another patient"),
        ([("a", "7", "1"), ("b", "8", "3")], "of 2 summaries in n.csv 1 name an admission that"),
    ],
)
def test_rows_that_cannot_be_joined_are_refused(
    rows: list[tuple[str | None, str | None, str]], match: str
) -> None:
    with pytest.raises(DataError, match=match):
        check_together(rows_of(*rows))


def test_ids_of_letters_and_hexadecimal_digits_are_ids() -> None:
    admissions = pa.table({"hadm_id": ["N-1", "12e4"], "subject_id": ["P001", "00001e23"]})
    rows = rows_of(("1e5", "P001", "N-1"), ("n.2", "00001e23", "12e4"))
    row_checks.check_owners(rows, admissions, Path("n.csv"))


def test_a_few_summaries_of_unknown_admissions_are_no_other_release() -> None:
    rows = rows_of(*((str(n), "7", "1") for n in range(9)), ("x", "9", "99"))
    check_together(rows)
