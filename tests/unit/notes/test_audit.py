"""Leak audit: every check finds its planted leak and nothing else; signatures estimate Jaccard."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from deepicd.cli.notes import app
from deepicd.errors import ConfigError, DataError, MissingError
from deepicd.notes import split_files
from deepicd.notes.audit import (
    LIMITS,
    NO_JUDGE,
    Check,
    audit_notes,
    has_leak,
    parse_limits,
)
from deepicd.notes.late_text import JUDGE, fit_judge, load_judge
from deepicd.notes.near_duplicates import find_near_duplicates, minhash_signatures
from deepicd.paths import SPLITS
from deepicd.records import Note
from deepicd.traces import write_traces

WORDS = np.random.default_rng(1).integers(0, 10_000, (200, 60))


def note_of(number: int) -> Note:
    words = " ".join(f"w{word}" for word in WORDS[number])
    text = f"CHIEF COMPLAINT: cough\nPRESENT ILLNESS: {words}"
    return Note(f"n{number}", f"p{number}", f"a{number}", text, "I214")


def write_notes(folder: Path, changed: Iterable[Note] = ()) -> Path:
    """200 notes, 50 a split; a changed one takes the place of the note of its admission."""
    notes = {f"a{number}": note_of(number) for number in range(200)}
    notes |= {note.admission_id: note for note in changed}
    rows = list(notes.values())
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(SPLITS):
        split_files.write_split(rows[50 * number : 50 * (number + 1)], folder / f"{name}.parquet")
    return folder


def test_what_there_was_nothing_to_check_with_is_not_clean(tmp_path: Path) -> None:
    folder = write_notes(tmp_path)
    verdicts = {check.name: check.verdict for check in audit_notes(folder)}
    unmade = {"late_wording", "trace_overlap"}
    assert {name for name, verdict in verdicts.items() if verdict == "not checked"} == unmade
    traces = [{"note_id": "n0", "patient_id": "p0"}]
    (check,) = [each for each in audit_notes(folder, traces=traces) if each.name == "trace_overlap"]
    assert check.verdict == "clean" and "why" not in check.as_dict()
    done = CliRunner().invoke(app, ["audit", str(folder), "--json"])
    report = json.loads(done.output)
    assert (done.exit_code, report["leaks"]) == (0, [])
    (told,) = report["warnings"]
    assert {"check", "count", "share", "limit"} <= told.keys()
    assert (told["check"], told["verdict"]) == ("late_wording", "not checked")
    assert "too few passages" in told["why"]
    assert report["late_text_judge"] == {"verdict": "not checked", "why": NO_JUDGE}
    shown = CliRunner().invoke(app, ["audit", str(folder)]).output
    assert shown.count("not checked") == 2 and shown.count("only warns") == 3


def broken_checks(folder: Path, **options: object) -> dict[str, Check]:
    checks = audit_notes(folder, judge=load_judge(folder), **options)  # type: ignore[arg-type]
    assert [check.name for check in checks] == list(LIMITS)
    return {check.name: check for check in checks if check.count}


def test_clean_notes_break_no_rule(tmp_path: Path) -> None:
    assert broken_checks(write_notes(tmp_path)) == {}


@pytest.mark.parametrize(
    ("words", "name", "verdict"),
    [
        ("Brief Hospital Course: fine", "forbidden_section", "leak"),
        ("x\nPERTINENT RESULTS: fine", "forbidden_section", "leak"),
        ("Discharge Medications: fine", "forbidden_section", "leak"),
        ("physical exam on discharge: fine", "forbidden_section", "leak"),
        ("x\na line without a header", "forbidden_section", "leak"),
        ("x\nMEDICATION ON ADMISSION: apixaban (NEW)", "changed_medication", "warning"),
        ("with a discharge diagnosis of flu", "diagnosis_phrase", "warning"),
        ("was diagnosed with gout in 2010", "diagnosis_wording", "warning"),
        ("a Non-ST elevation (NSTEMI) myocardial infarction.", "gold_title", "warning"),
        ("an old non-ST elevation myocardial infarction", "gold_title", "warning"),
        ("coded i21.4 before", "gold_code", "leak"),
    ],
)
def test_words_that_give_the_answer_away_are_found(
    tmp_path: Path, words: str, name: str, verdict: str
) -> None:
    note = replace(note_of(60), text=f"{note_of(60).text} {words}")
    check = broken_checks(write_notes(tmp_path, [note]))[name]
    assert (check.count, check.examples, check.verdict) == (1, ("n60",), verdict)
    assert check.share == pytest.approx(1 / 200)


def test_many_gold_titles_are_a_leak_and_the_limit_is_the_callers(tmp_path: Path) -> None:
    title = "non-st elevation (nstemi) myocardial infarction"
    named = [replace(note_of(n), text=f"CHIEF COMPLAINT: {title} {n}") for n in range(20)]
    write_notes(tmp_path, named)
    assert broken_checks(tmp_path)["gold_title"].verdict == "leak"
    allowed = broken_checks(tmp_path, limits={"gold_title": 0.1})
    assert allowed["gold_title"].verdict == "warning"
    with pytest.raises(ConfigError, match=r"a limit is a share .* got gold_title = 2"):
        audit_notes(tmp_path, limits={"gold_title": 2})


def test_near_exact_and_shared_rows_are_told_apart(tmp_path: Path) -> None:
    near = replace(note_of(60), text=note_of(10).text.rsplit(" ", 1)[0])
    exact = replace(note_of(110), text=note_of(11).text.upper().replace("W", "w"))
    same_split = replace(note_of(12), text=note_of(13).text)
    patient = replace(note_of(160), patient_id="p14")
    note_id = replace(note_of(161), note_id="n15")
    found = broken_checks(write_notes(tmp_path, [near, exact, same_split, patient, note_id]))
    assert {name: check.examples for name, check in found.items() if name != "forbidden_section"} \
        == {
            "near_duplicate": ("n60",),
            "exact_duplicate": ("n110",),
            "shared_patient": ("n160",),
            "repeated_note_id": ("n15",),
        }  # fmt: skip
    assert has_leak(found.values())


def test_traces_of_held_out_notes_or_patients_are_a_leak(tmp_path: Path) -> None:
    traces = [
        {"note_id": "n1", "patient_id": "p1"},
        {"note_id": "n60", "patient_id": "p60"},
        {"note_id": "other", "patient_id": "p199"},
    ]
    check = broken_checks(write_notes(tmp_path), traces=traces)["trace_overlap"]
    assert (check.count, check.examples, check.verdict) == (2, ("n60", "other"), "leak")


def test_a_split_may_be_a_folder_of_parts(tmp_path: Path) -> None:
    write_notes(tmp_path)
    whole = pa.parquet.read_table(tmp_path / "test.parquet")
    (tmp_path / "test.parquet").unlink()
    (tmp_path / "test.parquet").mkdir()
    for part in range(2):
        rows = whole.slice(25 * part, 25)
        pa.parquet.write_table(rows, tmp_path / "test.parquet" / f"{part}.parquet")
    assert broken_checks(tmp_path) == {}
    assert len(split_files.read_split(tmp_path / "test.parquet")) == 50


def test_missing_and_foreign_splits_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no split at .*train\.parquet; build it first"):
        audit_notes(tmp_path)
    write_notes(tmp_path)
    pa.parquet.write_table(pa.table({"a": [1]}), tmp_path / "test.parquet")
    with pytest.raises(DataError, match=r"test\.parquet is not a split of notes"):
        audit_notes(tmp_path)


TEXT = pa.string()
BROKEN: dict[str, tuple[str, pa.Array, str]] = {
    "a note without text": ("text", pa.array([None], TEXT), "column text lacks a value in 1 rows"),
    "no code": ("code", pa.array([None], TEXT), "column code lacks a value in 1 rows"),
    "no note id": ("note_id", pa.array([None], TEXT), "column note_id lacks a value in 1 rows"),
    "no patient": ("patient_id", pa.array([None], TEXT), "column patient_id lacks a value in 1"),
    "a word for no patient": ("patient_id", pa.array(["unknown"]), "column patient_id lacks a"),
    "a number": ("note_id", pa.array([7]), "column note_id is of type int64; it must be text"),
    "a patient that was a float": ("patient_id", pa.array([7.0]), "patient_id is of type double"),
    "bytes": ("text", pa.array([b"SECRET"]), "column text is of type binary; it must be text"),
    "a note as a code": ("code", pa.array(["SECRET"]), "a gold label is no ICD-10-CM code"),
    "bytes that are no text": (
        "text",
        pa.Array.from_buffers(TEXT, 1, pa.array([b"\xff\xfe"]).buffers()),
        "test.parquet is not a split of notes",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_split_with_a_value_that_is_none_is_refused_by_its_column(
    tmp_path: Path, name: str
) -> None:
    column, values, match = BROKEN[name]
    path = write_notes(tmp_path) / "test.parquet"
    table = pa.parquet.read_table(path).slice(0, 1)
    place = table.schema.get_field_index(column)
    pa.parquet.write_table(table.set_column(place, column, values), path)
    with pytest.raises(DataError, match=match) as refused:
        audit_notes(tmp_path)
    assert "SECRET" not in str(refused.value)


def test_a_split_may_hold_its_text_in_another_form_of_text(tmp_path: Path) -> None:
    path = write_notes(tmp_path) / "test.parquet"
    table = pa.parquet.read_table(path)
    for name, kind in (("text", pa.large_string()), ("code", pa.dictionary(pa.int32(), TEXT))):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, table[name].cast(kind))
    pa.parquet.write_table(table, path)
    assert broken_checks(tmp_path) == {}


@pytest.mark.parametrize("report", ["[1]", '{"identity": null}', '{"identity": []}', "7"])
def test_a_report_of_another_shape_is_no_traceback(tmp_path: Path, report: str) -> None:
    write_notes(tmp_path)
    (tmp_path / "report.json").write_text(report)
    done = CliRunner().invoke(app, ["audit", str(tmp_path), "--json"])
    assert done.exit_code == 0 or isinstance(done.exception, DataError)


def test_the_command_prints_ids_never_text_and_exits_with_1_on_a_leak(tmp_path: Path) -> None:
    note = replace(note_of(60), text=f"{note_of(60).text} Hospital Course: SECRET")
    write_notes(tmp_path / "clean")
    write_notes(tmp_path / "leak", [note])
    clean = CliRunner().invoke(app, ["audit", str(tmp_path / "clean")])
    assert clean.exit_code == 0 and "leak" not in clean.output
    rows = [{"note_id": "n60", "patient_id": "p60", "code": "I214", "response": "x"}]
    write_traces(rows, tmp_path / "traces.parquet")
    options = ["--traces", str(tmp_path / "traces.parquet"), "--json"]
    leak = CliRunner().invoke(app, ["audit", str(tmp_path / "leak"), *options])
    report = json.loads(leak.output)
    listed = {check["check"]: check for check in report["leaks"]}
    assert (leak.exit_code, *listed) == (1, "forbidden_section", "trace_overlap")
    assert {"check", "count", "share", "limit"} <= listed["forbidden_section"].keys()
    assert [row["verdict"] for row in report["warnings"]] == ["not checked"]
    assert report["limits"].keys() == LIMITS.keys()
    assert "SECRET" not in leak.output and "n60" in leak.output


@pytest.mark.parametrize(
    "words",
    [
        "PHYSICAL EXAM (DISCHARGE): x",
        "Physical Exam - Discharge: x",
        "D/C PHYSICAL EXAM x",
        "DEATH EXAM x",
        "At discharge VS 36.6",
        "Condition on Discharge: x",
        "MICRO x",
    ],
)
def test_the_audit_knows_every_header_that_the_reader_knows(tmp_path: Path, words: str) -> None:
    note = replace(note_of(60), text=f"{note_of(60).text}\nPHYSICAL EXAM: clear lungs {words}")
    assert broken_checks(write_notes(tmp_path, [note]))["forbidden_section"].examples == ("n60",)


@pytest.mark.parametrize(
    "words", ["a hospital course c/b: AKI", "her discharge labs were good: 4", "Discharge: yellow"]
)
def test_a_history_that_mentions_an_earlier_stay_is_no_leak(tmp_path: Path, words: str) -> None:
    note = replace(note_of(60), text=f"{note_of(60).text}, {words}")
    assert "forbidden_section" not in broken_checks(write_notes(tmp_path, [note]))


def test_template_notes_of_different_patients_warn_and_every_limit_is_an_option(
    tmp_path: Path,
) -> None:
    near = replace(note_of(60), text=note_of(10).text.rsplit(" ", 1)[0])
    write_notes(tmp_path, [near])
    warned = CliRunner().invoke(app, ["audit", str(tmp_path), "--json"])
    report = json.loads(warned.output)
    assert warned.exit_code == 0
    found = [(one["check"], one["count"]) for one in report["warnings"] if "why" not in one]
    assert found == [("near_duplicate", 1)]
    strict = CliRunner().invoke(app, ["audit", str(tmp_path), "--limit", "near_duplicate=0"])
    assert strict.exit_code == 1
    with pytest.raises(ConfigError, match=r"a limit is written CHECK=SHARE, .* got 'x'"):
        parse_limits(["x"])


# ---- signatures


@given(st.lists(st.text(max_size=40), max_size=8))
def test_any_texts_are_signed_and_equal_ones_alike(texts: list[str]) -> None:
    signatures = minhash_signatures(pa.array([*texts, *texts], pa.string()))
    assert (signatures[: len(texts)] == signatures[len(texts) :]).all()


@pytest.mark.parametrize("num_changed", [0, 10, 40])
def test_signatures_estimate_the_jaccard_similarity(num_changed: int) -> None:
    first = [f"w{number}" for number in range(404)]
    second = (
        [*first[:-num_changed], *(f"v{n}" for n in range(num_changed))] if num_changed else first
    )
    signed = minhash_signatures(pa.array([" ".join(first), " ".join(second)]))
    similarity = (400 - num_changed) / (400 + num_changed)
    assert (signed[0] == signed[1]).mean() == pytest.approx(similarity, abs=0.15)


def test_pairs_are_found_across_groups_only() -> None:
    texts = pa.array([note_of(number).text for number in (1, 1, 2, 1, 2)])
    groups = np.array([0, 0, 0, 1, 2], np.int8)
    assert find_near_duplicates(minhash_signatures(texts), groups, similarity=0.9) == [
        (0, 3),
        (2, 4),
    ]


def write_passages(folder: Path) -> None:
    rows = [
        {"note_id": f"{number}", "is_late": bool(number % 2), "text": said}
        for number in range(2000)
        for said in [("came with a cough today", "You were seen and got better")[number % 2]]
    ]
    folder.mkdir()
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), folder / "a")


def test_a_judge_of_late_text_names_passages_and_only_warns(tmp_path: Path) -> None:
    folder = write_notes(tmp_path / "notes")
    text = "PRESENT ILLNESS: came with a cough today. You were seen and got much better."
    late = replace(note_of(7), text=text)
    write_notes(folder, [late])
    write_passages(tmp_path / "passages")
    judge = fit_judge(tmp_path / "passages")
    assert judge is not None
    judge.save(folder / JUDGE)
    (check,) = broken_checks(folder).values()
    assert (check.name, check.verdict, check.count) == ("late_wording", "warning", 1)
    assert check.examples == ("n7:PRESENT ILLNESS:2",)
    assert has_leak(audit_notes(folder, judge=judge, limits={"late_wording": 0.0}))


def test_the_score_of_a_doubtful_passage_is_an_option_and_is_told(tmp_path: Path) -> None:
    folder = write_notes(tmp_path / "notes")
    none = CliRunner().invoke(app, ["audit", str(folder), "--json"])
    assert json.loads(none.output)["late_text_judge"]["verdict"] == "not checked"
    assert "was not looked for" in CliRunner().invoke(app, ["audit", str(folder)]).output
    write_passages(tmp_path / "passages")
    judge = fit_judge(tmp_path / "passages")
    assert judge is not None
    judge.save(folder / JUDGE)
    learnt = CliRunner().invoke(app, ["audit", str(folder), "--json"])
    assert json.loads(learnt.output)["late_text_judge"] == judge.summary()
    strict = CliRunner().invoke(app, ["audit", str(folder), "--doubt=-100", "--json"])
    report = json.loads(strict.output)
    assert report["late_text_judge"] | {"num_passages": 0} == {
        "num_passages": 0,
        "recall": None,
        "threshold": -100,
    }
    found = [(one["check"], one["share"]) for one in report["warnings"] if "why" not in one]
    assert found == [("late_wording", 1.0)]
    told = CliRunner().invoke(app, ["audit", str(folder), "--doubt=-100"]).output
    assert "late_wording: passages that score above -100" in told
    with pytest.raises(ConfigError, match="a score of doubt is a finite number; got nan"):
        load_judge(folder, threshold=float("nan"))


def test_the_similarity_of_near_duplicates_is_an_option(tmp_path: Path) -> None:
    words = note_of(150).text.split()
    changed = [*words[:-12], *(f"other{number}" for number in range(12))]
    folder = write_notes(tmp_path, [replace(note_of(2), text=" ".join(changed))])
    assert broken_checks(folder) == {}
    assert broken_checks(folder, similarity=0.5)["near_duplicate"].count == 1
    with pytest.raises(ConfigError, match=r"a similarity is from 0\.5 to 1; got 0\.1"):
        audit_notes(folder, similarity=0.1)


def test_admission_notes_that_were_kept_are_audited_as_they_are(tmp_path: Path) -> None:
    free = replace(
        note_of(60), text="Seen at the door.\nAllergies: none\nPlan: admit, labs\nHPI: x"
    )
    late = replace(note_of(160), text=f"{free.text} y\nHospital Course: better\n")
    write_notes(tmp_path, [free, late])
    assert broken_checks(tmp_path)["forbidden_section"].count == 2
    report = {"identity": {"settings": {"sections": "keep"}}}
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert broken_checks(tmp_path)["forbidden_section"].examples == ("n160",)
