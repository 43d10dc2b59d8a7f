"""Tables of MIMIC-IV without Ray: forms, layouts, ids, and what each fault is called."""

import gzip
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from deepicd.errors import DataError, MissingError
from deepicd.notes.mimic import row_checks, tables

SECRET = "SECRETWORDS"
TABLE = pa.table({"extra": ["x", "y"], "hadm_id": [20001, 20002], "icd_code": ["I21.4 ", "J189"]})
ROWS = [{"hadm_id": "20001", "icd_code": "I21.4"}, {"hadm_id": "20002", "icd_code": "J189"}]
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
        text = "\ufeffextra,hadm_id,icd_code\nx,20001.0,I21.4 \ny, 20002,J189\n".encode()
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


def test_a_truncated_gzip_is_named_with_its_byte(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    whole = gzip.compress(os.urandom(5000).hex().encode())
    path.write_bytes(whole[:3000])
    with pytest.raises(DataError, match=r"t\.csv\.gz cannot be read .* it ends at byte 3,000 "):
        list(tables.read_batches(path, COLUMNS))
    damaged = bytearray(whole)
    damaged[1000:1400] = b"\x00" * 400
    path.write_bytes(bytes(damaged))
    assert "its gzip stream is damaged between bytes 0 and" in tables.find_fault(path)
    path.write_bytes(b"hadm_id,icd_code\n")
    assert "damaged between bytes 0 and 17" in tables.find_fault(path)


def test_several_gzip_streams_in_one_file_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n") + gzip.compress("1,ü\n".encode()))
    assert tables.find_fault(path) == ""
    tables.check_columns(path, ("a", "b"))


@pytest.mark.parametrize("before", [0, (1 << 20) - 1, 3 << 20])
def test_the_first_byte_that_is_not_utf_8_is_named(tmp_path: Path, before: int) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a" * before + "ü".encode() + SECRET.encode() + b"\xff\xfe rest")
    place = f"{before + 2 + len(SECRET):,}"
    assert tables.find_fault(path) == f"byte {place} of its text is not UTF-8"


def test_text_of_another_encoding_is_refused_without_being_shown(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(f"hadm_id,icd_code\n1,{SECRET}é\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"t\.csv cannot be read .* not UTF-8\. Check") as got:
        list(tables.read_batches(path, COLUMNS))
    assert SECRET not in str(got.value)


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1 no parquet")
    with pytest.raises(DataError, match=r"t\.parquet cannot be read .* it is no Parquet file"):
        tables.check_columns(path, COLUMNS)
    write_form(tmp_path, ".parquet")
    with pytest.raises(DataError, match=r"has no column seq_num; its header is extra, hadm_id"):
        tables.check_columns(tmp_path / "diagnoses_icd.parquet", ("seq_num",))


def test_a_table_with_carriage_returns_alone_is_refused_by_that_name(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"hadm_id,icd_code\r1,I21.4\r2,J189\r")
    with pytest.raises(DataError, match=r"t\.csv cannot be read .* end in carriage returns"):
        list(tables.read_batches(path, COLUMNS))


def test_a_missing_permission_is_named_with_the_way_out(tmp_path: Path) -> None:
    error = tables.unreadable(tmp_path / "t.csv", PermissionError(13, "denied"))
    assert "may not be read (permission denied); ask its owner" in str(error)


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
    row_checks.check_rows(rows, Path("n.csv"))
    row_checks.check_owners(rows, ADMISSIONS, Path("n.csv"))


ADMISSIONS = pa.table({"hadm_id": ["1", "2"], "subject_id": ["7", "8"]})


def rows_of(*rows: tuple[str | None, str | None, str]) -> pa.Table:
    note_id, patient_id, admission_id = (list(column) for column in zip(*rows, strict=True))
    columns = {"note_id": note_id, "patient_id": patient_id, "admission_id": admission_id}
    return pa.table({**columns, "reason": pa.array([""] * len(rows))})


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([("a", "7", "1"), (None, "8", "2")], "every note needs note_id and subject_id; 1 lack"),
        ([("a", "7", "1"), ("b", "NaN", "2")], "every note needs note_id and subject_id; 1 lack"),
        ([("a", "7", "1"), ("b", "1e+07", "2")], "1 values of patient_id in n.csv are fractions"),
        ([("a", "7", "1"), ("b", "1.0E7", "2")], "1 values of patient_id in n.csv are fractions"),
        ([("a", "7", "1"), ("b", "8", "2.5")], "1 values of admission_id in n.csv are fractions"),
        ([("a", "7", "1"), ("b", "", "2")], "every note needs note_id and subject_id; 1 lack"),
        ([("a", "7", "1"), ("a", "8", "2")], r"note ids must be unique; 1 repeat in n\.csv"),
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
    row_checks.check_rows(rows, Path("n.csv"))
    row_checks.check_owners(rows, admissions, Path("n.csv"))


def test_a_few_summaries_of_unknown_admissions_are_no_other_release() -> None:
    rows = rows_of(*((str(n), "7", "1") for n in range(9)), ("x", "9", "99"))
    check_together(rows)
