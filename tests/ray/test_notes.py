"""The reader on a real local Ray: the embedded corpus, hand-written MIMIC-IV tables, bad tables."""

import csv
import gzip
import io
import json
import random
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from fhir_export import condition, diagnosis, document, encounter, export, patient
from mimic_fixtures import FIXTURES
from odd_corpora import REFUSALS, odd_texts
from table_notes import COLUMNS, rows_of, summary, write_file
from typer.testing import CliRunner

from deepicd.cli.notes import app
from deepicd.config import DataConfig, fingerprint
from deepicd.errors import DataError, MissingError
from deepicd.notes import build_notes, read_build_report, read_split
from deepicd.notes.audit import audit_notes, has_leak
from deepicd.notes.baselines import read_ceiling
from deepicd.notes.identity import check_identity
from deepicd.notes.late_text import load_judge
from deepicd.notes.mimic.reader import cut_notes
from deepicd.notes.splits import assign_split
from deepicd.paths import SPLITS
from deepicd.scoring import score_predictions

CONFIG = DataConfig(num_notes=300, num_codes=12)
SECRET = "SECRETWORDS"
USES_LIGHT_RAY = True
pytestmark = pytest.mark.usefixtures("light_ray")


@pytest.fixture(scope="module")
def built(light_ray: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded corpus, built once."""
    folder = tmp_path_factory.mktemp("built")
    build_notes(CONFIG, tables=folder / "tables", out=folder / "notes")
    return folder


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([header, *rows])
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.fixture
def mimic(tmp_path: Path) -> Path:
    """A small MIMIC-IV of 40 patients: other column order, plain and packed tables, bad rows."""
    root = tmp_path / "mimic"
    text = 'Chief Complaint:\nfall, "hard"\n\nHPI: number {}\n\nDischarge Diagnosis:\nlate'
    notes = [[text.format(i), f"{i}-DS-1", i, 100 + i, "DS", 1, ""] for i in range(40)]
    notes += [["addendum", "0-AD-2", 0, 100, "AD", 2, ""]]
    notes += [[text.format(0), "0-DS-3", 0, 100, "DS", 3, ""]]
    notes += [[text.format(99), "99-DS-1", 0, "", "DS", 1, ""]]
    header = ["text", "note_id", "subject_id", "hadm_id", "note_type", "note_seq", "charttime"]
    write_table(root / "note/discharge.csv.gz", header, notes)
    labels = [[i, 100 + i, 1, "i21.4 ", 10] for i in range(38)]
    labels += [[38, 138, 1, "41071", 9], [38, 138, 2, "I10", 10], [39, 139, 1, "I2199", 10]]
    columns = ["subject_id", "hadm_id", "seq_num", "icd_code", "icd_version"]
    write_table(root / "hosp/diagnoses_icd.csv", columns, labels[::-1])
    stays = [[100 + i, i, "Medicare", "WHITE"] for i in range(40)]
    write_table(root / "hosp/admissions.csv", ["hadm_id", "subject_id", "insurance", "race"], stays)
    people = [[i, "F", 70] for i in range(30)]
    write_table(root / "hosp/patients.csv", ["subject_id", "gender", "anchor_age"], people)
    return root


def build_from(root: Path, out: Path) -> dict[str, object]:
    shares = (0.4, 0.2, 0.2, 0.2)
    config = DataConfig(source="mimic", root=root, split_shares=shares)
    return build_notes(config, tables=root, out=out)


def test_the_embedded_corpus_comes_back_through_the_mimic_reader(built: Path) -> None:
    splits = {name: read_split(built / "notes" / f"{name}.parquet") for name in SPLITS}
    notes = [note for name in SPLITS for note in splits[name]]
    report = read_build_report(built / "notes")
    assert len(notes) == 300
    assert len({note.code for note in notes}) == 12
    assert report["dropped"] == {"addendum": 3, "no_core_section": 3, "no_icd10_principal": 3}
    assert report["splits"]["test"]["num_notes"] == len(splits["test"])
    assert report["ceiling"]["test"]["num_notes"] == len(splits["test"])
    counts = Counter(note.code for note in splits["train"])
    assert {code: by["train"] for code, by in report["labels"].items()} == dict(counts)
    owners = [{note.patient_id for note in splits[name]} for name in SPLITS]
    assert sum(map(len, owners)) == len(set().union(*owners))
    assert all(note.sex in ("F", "M") and note.age_band and note.race for note in notes)
    judge = load_judge(built / "notes")
    assert judge is not None and not has_leak(audit_notes(built / "notes", judge=judge))
    assert report["late_text_judge"] == judge.summary() and judge.recall > 0.5
    assert report["kinds"] == {}
    assert report["unknown_headers"] == {"num_lines": 0, "num_notes": 0, "share": 0.0}
    assert check_identity(built / "notes", CONFIG) == report
    assert report["settings"] == fingerprint(CONFIG)
    assert sorted(path.name for path in (built / "notes").iterdir()) == sorted(
        ["ceiling_answers.json", "late_text.npz", "report.json"]
        + [f"{name}.parquet" for name in SPLITS]
    )
    ids = [note.note_id for note in splits["test"]]
    ceiling = read_ceiling(built / "notes" / "test.parquet", note_ids=ids)
    assert ceiling is not None and [row.note_id for row in ceiling] == ids
    assert score_predictions(ceiling) == pytest.approx(report["ceiling"]["test"])


def test_equal_seeds_build_equal_files(built: Path, tmp_path: Path) -> None:
    build_notes(CONFIG, tables=tmp_path / "tables", out=tmp_path / "notes")
    for name in SPLITS:
        first = (built / "notes" / f"{name}.parquet").read_bytes()
        assert (tmp_path / "notes" / f"{name}.parquet").read_bytes() == first


def test_mimic_tables_are_read_by_header_and_joined(mimic: Path, tmp_path: Path) -> None:
    report = build_from(mimic, tmp_path / "out")
    splits = {name: read_split(tmp_path / "out" / f"{name}.parquet") for name in SPLITS}
    notes = {note.note_id: note for name in SPLITS for note in splits[name]}
    assert sorted(notes, key=lambda key: int(key.split("-")[0])) == [
        f"{number}-DS-1" for number in range(38)
    ]
    assert report["dropped"] == {
        "addendum": 1,
        "later_summary": 1,
        "no_admission_id": 1,
        "no_icd10_principal": 1,
        "unknown_code": 1,
    }
    one = notes["7-DS-1"]
    assert one.text == 'CHIEF COMPLAINT: fall, "hard"\nPRESENT ILLNESS: number 7'
    assert (one.patient_id, one.admission_id, one.code) == ("7", "107", "I214")
    assert (one.age_band, one.sex, one.race, one.insurance) == ("70-79", "F", "WHITE", "Medicare")
    assert notes["35-DS-1"].sex is None  # a patient that hosp/patients lacks


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_every_form_of_the_tables_gives_the_same_notes(
    mimic: Path, tmp_path: Path, suffix: str
) -> None:
    before = build_from(mimic, tmp_path / "before")
    for path in [path for path in mimic.rglob("*.csv*") if path.is_file()]:
        data = path.read_bytes()
        rows = list(csv.reader(io.StringIO(
            (gzip.decompress(data) if path.suffix == ".gz" else data).decode(), newline=""
        )))  # fmt: skip
        path.unlink()
        other = path.with_name(path.name.partition(".")[0] + suffix)
        if suffix == ".csv":
            write_table(other, rows[0], rows[1:])
        else:
            columns = dict(zip(rows[0], map(list, zip(*rows[1:], strict=True)), strict=True))
            for name in {"subject_id", "note_seq", "seq_num", "icd_version"} & columns.keys():
                columns[name] = [int(value) for value in columns[name]]
            pa.parquet.write_table(pa.table(columns), other)
    after = build_from(mimic, tmp_path / "after")
    assert after["identity"]["splits"] == before["identity"]["splits"]


def test_the_third_party_fixture_is_read_and_says_why_nothing_is_left(
    fetch: Callable[[str], Path], tmp_path: Path
) -> None:
    """Its three notes are free text without a section; joins, labels and ids are all there."""
    with zipfile.ZipFile(fetch("pip:mimic-explorer==0.1.4")) as archive:
        archive.extractall(tmp_path)
    root = tmp_path / "tests/fixtures/mimic-iv-test"
    with pytest.raises(DataError, match=r"of 3 rows none is left \(no_core_section 3\)"):
        build_from(root, tmp_path / "out")
    table = root / "note/discharge.csv"
    table.write_text(table.read_text().replace(',"Patient is', ',"HPI: Patient is'))
    rows = cut_notes(root, tmp_path / "parts").to_pylist()
    assert [row["note_id"] for row in rows] == ["N001", "N002", "N003"]
    assert [row["code"] for row in rows] == ["I10", "A4189", "A4189"]
    assert {row["reason"] for row in rows} == {""}


def test_labels_that_only_held_out_patients_have_are_moved_into_training(
    mimic: Path, tmp_path: Path
) -> None:
    splits = {str(i): assign_split(str(i), (0.4, 0.2, 0.2, 0.2), 1) for i in range(38)}
    held = [patient for patient, split in splits.items() if split != "train"][:4]
    columns = ["subject_id", "hadm_id", "seq_num", "icd_code", "icd_version"]
    labels = [[i, 100 + i, 1, "J189" if str(i) in held else "I214", 10] for i in range(38)]
    write_table(mimic / "hosp/diagnoses_icd.csv", columns, labels)
    report = build_from(mimic, tmp_path / "out")
    assert report["labels_unseen_in_train"] == {"validation": 0, "test": 0, "promotion": 0}
    assert report["labels"]["J189"]["train"] == 1


def test_note_and_hosp_of_different_releases_are_refused(mimic: Path, tmp_path: Path) -> None:
    stays = [[500 + i, i, "Medicare", "WHITE"] for i in range(40)]
    write_table(
        mimic / "hosp/admissions.csv", ["hadm_id", "subject_id", "insurance", "race"], stays
    )
    with pytest.raises(
        DataError, match=r"belong together; of 41 summaries .* 41 name an admission"
    ):
        build_from(mimic, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_text_that_is_not_utf_8_is_named_by_byte(mimic: Path, tmp_path: Path) -> None:
    table = mimic / "note/discharge.csv.gz"
    whole = gzip.decompress(table.read_bytes()).replace(b"number 7", b"number \xe9")
    table.write_bytes(gzip.compress(whole))
    with pytest.raises(DataError, match=rf"byte {whole.index(0xE9):,} of its text is not UTF-8"):
        build_from(mimic, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_repeated_note_ids_are_refused(mimic: Path, tmp_path: Path) -> None:
    header = ["note_id", "subject_id", "hadm_id", "note_type", "note_seq", "text"]
    rows = [["1-DS-1", 1, 101, "DS", 1, f"CC: {SECRET}"]] * 2
    write_table(mimic / "note/discharge.csv.gz", header, rows)
    with pytest.raises(
        DataError, match=r"discharge\.csv\.gz, row 2: note_id stood in an earlier"
    ) as got:
        build_from(mimic, tmp_path / "out")
    assert SECRET not in str(got.value)
    assert not (tmp_path / "out").exists()


def test_a_missing_table_is_named_and_leaves_no_output(mimic: Path, tmp_path: Path) -> None:
    (mimic / "hosp/patients.csv").unlink()
    with pytest.raises(MissingError, match="no table hosp/patients under"):
        build_from(mimic, tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["mimic"]


def test_a_truncated_notes_table_is_named(mimic: Path, tmp_path: Path) -> None:
    table = mimic / "note/discharge.csv.gz"
    table.write_bytes(table.read_bytes()[:-40])
    with pytest.raises(
        DataError, match=r"discharge\.csv\.gz cannot be read: .* ends at byte .*gzip -t"
    ):
        build_from(mimic, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_broken_row_is_refused_without_its_text(
    mimic: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = mimic / "note/discharge.csv.gz"
    whole = gzip.decompress(table.read_bytes())
    table.write_bytes(gzip.compress(whole + f"{SECRET},only,three\n".encode()))
    with pytest.raises(
        DataError, match=r"row 44 below its header \(line \d+\) has 3 values"
    ) as got:
        build_from(mimic, tmp_path / "out")
    printed = capfd.readouterr()
    assert SECRET not in f"{got.value!r}{got.value.__cause__!r}{printed.out}{printed.err}"


@pytest.mark.parametrize("column", ["note_id", "subject_id", "hadm_id"])
def test_an_id_that_went_through_a_float_is_refused_by_column_and_row(
    mimic: Path, tmp_path: Path, column: str
) -> None:
    header = ["note_id", "subject_id", "hadm_id", "note_type", "note_seq", "text"]
    good = {"note_id": "1-DS-1", "subject_id": "1", "hadm_id": "101"}
    rows = [{**good}, {**good, "note_id": "2-DS-1", column: "20001.0"}]
    rest = ["DS", 1, f"CC: {SECRET}"]
    write_table(mimic / "note/discharge.csv.gz", header, [[*row.values(), *rest] for row in rows])
    with pytest.raises(DataError, match=rf"gz, row 2: {column} .* written as a fraction") as got:
        build_from(mimic, tmp_path / "out")
    assert SECRET not in str(got.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_tables_of_other_tools_give_the_same_notes(
    mimic: Path, tmp_path: Path, encoding: str
) -> None:
    """CRLF, marks, UTF-16, gzip under another name, several members, zeros behind them."""
    before = build_from(mimic, tmp_path / "before")
    for path in sorted(path for path in mimic.rglob("*.csv*") if path.is_file()):
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
        data = text.replace("\r\n", "\n").replace("\n", "\r\n").encode(encoding)
        middle = len(data) // 2
        packed = gzip.compress(data[:middle]) + gzip.compress(data[middle:]) + b"\0" * 512
        path.write_bytes(data if path.suffix == ".gz" else packed)
    after = build_from(mimic, tmp_path / "after")
    assert after["identity"]["splits"] == before["identity"]["splits"]


def test_a_failing_build_keeps_the_former_one(mimic: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = build_from(mimic, out)
    shutil.rmtree(mimic / "note")
    with pytest.raises(MissingError, match="no table note/discharge"):
        build_from(mimic, out)
    assert read_build_report(out) == before


def build_own(out: Path, source: str = "table", **data: object) -> dict[str, object]:
    """Notes of a group of its own."""
    if source == "table":
        data.setdefault("columns", COLUMNS)
    config = DataConfig(source=source, split_shares=(0.4, 0.2, 0.2, 0.2), **data)  # type: ignore[arg-type]
    return build_notes(config, tables=out, out=out, is_card_written=True)


def test_a_table_gives_the_same_splits_in_any_order_and_form_by_the_command_too(
    tmp_path: Path,
) -> None:
    rows = rows_of(200)
    first = build_own(tmp_path / "a", file=write_file(tmp_path / "a.csv", rows, is_packed=True))
    random.Random(5).shuffle(rows)
    for suffix in (".jsonl", ".parquet"):
        file = write_file(tmp_path / f"n{suffix}", rows)
        again = build_own(tmp_path / suffix, file=file)
        assert again["identity"] == first["identity"] and again["num_notes"] == 200
    notes = [note for name in SPLITS for note in read_split(tmp_path / "a" / f"{name}.parquet")]
    assert len({note.patient_id for note in notes}) == 198
    assert all("pain number" in note.text and "LATE" not in note.text for note in notes)
    assert not has_leak(audit_notes(tmp_path / "a"))
    assert "a group brought itself" in (tmp_path / "a" / "card.md").read_text()
    options = ["--source", "table", "--file", str(tmp_path / "n.parquet"), "--no-card", "--json"]
    options += ["--columns", "note=text,patient=pid,admission=stay,code=dx"]
    done = CliRunner().invoke(app, ["build", "--out", str(tmp_path / "c"), *options])
    assert done.exit_code == 0 and json.loads(done.output)["num_notes"] == 200


def test_a_fhir_export_gives_what_its_notes_as_a_table_give(tmp_path: Path) -> None:
    numbers = range(40)
    parts = [(document(i), encounter(i, [diagnosis(f"c{i}", 1)]), patient(i)) for i in numbers]
    codes = [condition(f"c{i}", "I21.4" if i % 3 else "J18.9") for i in numbers]
    root = export(tmp_path / "x", *(one for part in parts for one in part), *codes)
    report = build_own(tmp_path / "out", "fhir", root=root)
    assert report["num_notes"] == 40 and set(report["labels"]) == {"I214", "J189"}  # type: ignore[call-overload]
    note = read_split(tmp_path / "out" / "train.parquet")[0]
    assert note.note_id == f"doc{note.patient_id[1:]}" and note.sex == "F" and note.race == "White"
    rows = [
        {"text": summary(i), "pid": f"p{i}", "stay": f"e{i}", "dx": "I214" if i % 3 else "J189"}
        for i in numbers
    ]
    table = build_own(tmp_path / "t", file=write_file(tmp_path / "t.csv", rows))
    assert {name: table[name] for name in ("labels", "lengths", "chapters")} == {
        name: report[name] for name in ("labels", "lengths", "chapters")
    }


def test_a_row_that_is_broken_deep_in_a_table_is_named_and_leaves_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_file(tmp_path / "n.jsonl", rows_of(2500))
    lines = path.read_text().splitlines()
    lines[1999] = f'{{"text": "{SECRET}'
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"^\S+n\.jsonl:2000: no JSON object \(at char") as got:
        build_own(tmp_path / "out", file=path)
    printed = capfd.readouterr()
    assert SECRET not in f"{got.value!r}{got.value.__cause__!r}{printed.out}{printed.err}"
    assert not (tmp_path / "out").exists()


WITHOUT_NOTES = {
    "one patient": ({"pid": 7}, "every split needs a note; .* with 1 patients"),
    "all codes invalid": ({"dx": "QQ9"}, "of 40 in .* 40 are in no release"),
    "no code": ({"dx": ""}, r"of 40 rows none is left \(no_icd10_principal 40\)"),
    "empty notes": ({"text": " "}, r"of 40 rows none is left \(empty_text 40\)"),
}


@pytest.mark.parametrize("name", WITHOUT_NOTES)
def test_a_table_that_gives_no_splits_says_why(tmp_path: Path, name: str) -> None:
    values, message = WITHOUT_NOTES[name]
    rows = [{**row, **values} for row in rows_of(40)]
    with pytest.raises(DataError, match=message):
        build_own(tmp_path / "out", file=write_file(tmp_path / "n.csv", rows))
    assert [path.name for path in tmp_path.iterdir()] == ["n.csv"]


@pytest.mark.parametrize("source", ["mimic", "table"])
@pytest.mark.parametrize("name", REFUSALS)
def test_a_corpus_of_other_texts_is_refused_with_its_share_and_what_to_do(
    mimic: Path, tmp_path: Path, name: str, source: str
) -> None:
    texts = odd_texts(name, 40)
    header = ["text", "note_id", "subject_id", "hadm_id", "note_type", "note_seq"]
    notes = [[text, f"{i}-DS-1", i, 100 + i, "DS", 1] for i, text in enumerate(texts)]
    write_table(mimic / "note/discharge.csv.gz", header, notes)
    rows = [{**row, "text": text} for row, text in zip(rows_of(40), texts, strict=True)]
    file = write_file(tmp_path / "n.csv", rows)
    with pytest.raises(DataError, match=REFUSALS[name]) as got:
        build_from(mimic, tmp_path / "out") if source == "mimic" else build_own(
            tmp_path / "out", file=file
        )
    assert texts[0][:20] not in str(got.value) and not (tmp_path / "out").exists()


def test_a_few_other_texts_are_reported_with_their_share(tmp_path: Path) -> None:
    rows = rows_of(60)
    for one, name in enumerate(REFUSALS):
        for at, text in enumerate(odd_texts(name, 3)):
            rows[12 * one + at]["text"] = text
    report = build_own(tmp_path / "out", file=write_file(tmp_path / "n.csv", rows))
    kinds = report["kinds"]
    shares = {kind: (seen["count"], seen["share"]) for kind, seen in kinds.items()}  # type: ignore[attr-defined]
    assert shares == {
        "not_english": (9, 0.15),
        "radiology_report": (3, 0.05),
        "only_discharge_sections": (3, 0.05),
    }
    assert all("give" in seen["what"] for seen in kinds.values())  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", FIXTURES)
def test_a_whole_extract_is_built_and_audited_by_the_commands(tmp_path: Path, name: str) -> None:
    fixture, root, out = FIXTURES[name], tmp_path / "extract", tmp_path / "out"
    fixture.write(root)
    options = ["--source", "mimic", "--root", str(root), "--out", str(out), "--json"]
    done = CliRunner().invoke(app, ["build", *options])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["num_notes"], report["dropped"]) == (fixture.num_notes, fixture.dropped)
    assert set(report["labels"]) == fixture.codes and report["kinds"] == {}
    splits = {split: read_split(out / f"{split}.parquet") for split in SPLITS}
    notes = [note for split in SPLITS for note in splits[split]]
    assert all("LATE" not in note.text and "\r" not in note.text for note in notes)
    owners = [{note.patient_id for note in splits[split]} for split in SPLITS]
    assert all(owners) and sum(map(len, owners)) == len(set().union(*owners))
    (one,) = [note for note in notes if note.note_id == fixture.note[0]]
    assert {key: getattr(one, key) for key in fixture.note[1]} == fixture.note[1]
    assert [word for word in fixture.words if word not in one.text] == []
    audit = CliRunner().invoke(app, ["audit", str(out), "--json"])
    found = json.loads(audit.stdout)
    assert (audit.exit_code, found["leaks"]) == (0, [])
    assert all({"check", "count", "share", "limit"} <= row.keys() for row in found["warnings"])
    told = {row["check"]: row["verdict"] for row in found["warnings"]}
    assert told["late_wording"] == "not checked"
