"""Admission notes without Ray: sections, splits, the corpus and its ceiling, rows, bad input."""

import csv
import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd import codes
from deepicd.config import DataConfig
from deepicd.errors import ConfigError, DataError, MissingError
from deepicd.files import replaced_folder
from deepicd.notes import build, identity, read_note, read_split, report, split_files, split_writer
from deepicd.notes.corpus import sampling
from deepicd.notes.corpus.mentions import find_mentions
from deepicd.notes.corpus.mimic_tables import HEADERS, SPLIT_OF, word_admissions, write_tables
from deepicd.notes.corpus.profiles import Finding, Knowledge, Profile, load_knowledge
from deepicd.notes.mimic import reader, tables
from deepicd.notes.mimic.sections import (
    CORE_SECTIONS,
    SECTIONS,
    cut_sections,
    has_core,
    render_note,
)
from deepicd.notes.splits import MIN_PATIENTS, assign_split, repair_splits
from deepicd.paths import SPLITS
from deepicd.records import Note

SHARES = (0.6, 0.1, 0.2, 0.1)

SUMMARY = """
Name:  ___                     Unit No:   ___

Admission Date:  ___              Discharge Date:   ___

Service: MEDICINE

Allergies:
penicillin

Attending: ___.

Chief Complaint:
chest pain

Major Surgical or Invasive Procedure:
SECRET cath

History of Present Illness:
___ yo M with CP.
ED course notable for pain
relief.

Past Medical History:
1. HTN
2. DM2

Social History:
___
Family History:
father with MI

Physical Exam:
ADMISSION PHYSICAL EXAM:
HEENT: clear
RRR

DISCHARGE PHYSICAL EXAM:
SECRET exam

Pertinent Results:
SECRET troponin

Brief Hospital Course:
SECRET stent
HPI: SECRET again
On admission: SECRET too

Medications on Admission:
1. aspirin
2. lisinopril

Discharge Medications:
1. SECRET drug
Allergies: SECRET reaction

Discharge Diagnosis:
SECRET NSTEMI

Discharge Instructions:
SECRET words
"""


@pytest.fixture(scope="module")
def knowledge() -> Knowledge:
    """All authored profiles."""
    return load_knowledge()


@pytest.fixture(scope="module")
def corpus(knowledge: Knowledge):
    """600 drawn admissions with their notes; even rows are training, odd ones are not."""
    drawn = sampling.draw_admissions(sampling.build_model(knowledge), 600, seed=5)
    splits = ["train", "test"] * 300
    texts = [one.text for one in word_admissions(knowledge, drawn, splits=splits, seed=5)]
    return drawn, texts, [render_note(cut_sections(text)) for text in texts]


def note_of(number: int, *, patient: int | None = None, code: str = "I214") -> Note:
    patient = number if patient is None else patient
    return Note(f"n{number:04}", f"p{patient}", f"a{number}", f"CHIEF COMPLAINT: {number}", code)


# ---- sections


def test_a_summary_is_cut_to_its_admission_sections_in_order() -> None:
    assert render_note(cut_sections(SUMMARY)).splitlines() == [
        "CHIEF COMPLAINT: chest pain",
        "PRESENT ILLNESS: ___ yo M with CP. ED course notable for pain relief.",
        "MEDICAL HISTORY: 1. HTN 2. DM2",
        "MEDICATION ON ADMISSION: 1. aspirin 2. lisinopril",
        "ALLERGIES: penicillin",
        "PHYSICAL EXAM: HEENT: clear RRR",
        "FAMILY HISTORY: father with MI",
        "SOCIAL HISTORY: ___",
    ]


@pytest.mark.parametrize(
    ("line", "section"),
    [
        ("CHIEF COMPLAINT:", "CHIEF COMPLAINT"),
        ("chief complaint", "CHIEF COMPLAINT"),
        ("CC:", "CHIEF COMPLAINT"),
        ("HPI:", "PRESENT ILLNESS"),
        ("HISTORY OF PRESENT ILLNESS", "PRESENT ILLNESS"),
        ("History of the Presenting Illness:", "PRESENT ILLNESS"),
        ("PMH:", "MEDICAL HISTORY"),
        ("PMHx:", "MEDICAL HISTORY"),
        ("Past Medical and Surgical History:", "MEDICAL HISTORY"),
        ("Meds on admission:", "MEDICATION ON ADMISSION"),
        ("Medications prior to admission:", "MEDICATION ON ADMISSION"),
        ("Home Medications:", "MEDICATION ON ADMISSION"),
        ("Allergies/Adverse Drug Reactions:", "ALLERGIES"),
        ("Admission Physical Exam:", "PHYSICAL EXAM"),
        ("PHYSICAL EXAMINATION ON ADMISSION:", "PHYSICAL EXAM"),
        ("** Family History **:", "FAMILY HISTORY"),
        ("SH:", "SOCIAL HISTORY"),
        ("Reason for Admission/Chief Complaint:", "CHIEF COMPLAINT"),
        ("HPI -", "PRESENT ILLNESS"),
        ("Past Medical Hx:", "MEDICAL HISTORY"),
        ("PAST MEDICAL HISTORY/PAST SURGICAL HISTORY:", "MEDICAL HISTORY"),
        ("Pre-admission medications:", "MEDICATION ON ADMISSION"),
        ("Meds at home:", "MEDICATION ON ADMISSION"),
        ("Drug Allergies", "ALLERGIES"),
        ("PE:", "PHYSICAL EXAM"),
        ("PE on admission:", "PHYSICAL EXAM"),
        ("Admission PE:", "PHYSICAL EXAM"),
        ("ADMISSION PHYSICAL:", "PHYSICAL EXAM"),
        ("Physical Exam (on admission):", "PHYSICAL EXAM"),
        ("Physical examination upon presentation:", "PHYSICAL EXAM"),
        ("ON ADMISSION:", "PHYSICAL EXAM"),
        ("Fam Hx:", "FAMILY HISTORY"),
        ("Soc Hx:", "SOCIAL HISTORY"),
    ],
)
def test_header_variants_open_their_section(line: str, section: str) -> None:
    assert cut_sections(f"{line}\nfirst\nsecond\n") == {section: "first second"}
    if line.endswith(":"):
        assert cut_sections(f"{line} inline") == {section: "inline"}


@pytest.mark.parametrize(
    "line",
    [
        "Pertinent Results:",
        "PERTINENT RESULTS",
        "Brief Hospital Course:",
        "Hospital Course by Problem:",
        "DISCHARGE EXAM:",
        "Physical Exam on Discharge:",
        "At discharge:",
        "Discharge Diagnosis:",
        "Discharge Medications:",
        "Discharge Labs",
        "Major Surgical or Invasive Procedure:",
        "Final Diagnosis:",
        "Assessment and Plan:",
        "Imaging:",
        "Other Relevant Laboratory Data:",
        "Summary of Stay and Hospital Events:",
        "DISCHARGE:",
        "Discharge PE:",
        "DISCHARGE VS:",
        "Discharge Physical Exam (___):",
        "DISCHARGE PHYSICAL EXAM -",
        "PE on discharge:",
        "Exam prior to discharge:",
        "Physical Exam on Day of Discharge:",
        "D/C exam:",
        "Labs on admission: SECRET",
    ],
)
def test_a_section_ends_at_headers_that_are_not_kept(line: str) -> None:
    assert cut_sections(f"Physical Exam:\nclear\n{line}\nSECRET") == {"PHYSICAL EXAM": "clear"}


@pytest.mark.parametrize(
    "text",
    [
        "CC: fall HPI: tripped Past Medical History: HTN Discharge Physical Exam: SECRET",
        "CC: fall\nHPI: tripped\nPMH: HTN Brief Hospital Course: SECRET Allergies: SECRET",
        "CHIEF COMPLAINT: fall\nHPI\ntripped PAST MEDICAL HISTORY: HTN pertinent results: SECRET",
        "cc\nfall\nhpi\ntripped\npmh\nHTN\ndischarge diagnosis\nSECRET",
    ],
)
def test_lost_line_breaks_and_blank_lines_change_nothing(text: str) -> None:
    assert cut_sections(text) == {
        "CHIEF COMPLAINT": "fall", "PRESENT ILLNESS": "tripped", "MEDICAL HISTORY": "HTN",
    }  # fmt: skip


def test_a_header_word_inside_a_sentence_is_no_lost_line_break() -> None:
    text = "HPI: has a family history of gout, allergies: none known, on discharge from rehab well"
    assert cut_sections(text) == {"PRESENT ILLNESS": text.removeprefix("HPI: ")}


def test_an_admission_exam_ends_where_the_discharge_exam_begins() -> None:
    text = "Physical Exam:\nADMISSION:\nclear\nVitals: stable\n\nDISCHARGE:\nSECRET\nVitals: SECRET"
    assert cut_sections(text) == {"PHYSICAL EXAM": "ADMISSION: clear Vitals: stable"}


def test_only_the_medication_on_admission_is_read_after_the_hospital_course() -> None:
    text = "CC: fall\nBrief Hospital Course:\nx\nHPI: late\nMedications on Admission:\naspirin"
    assert cut_sections(text) == {"CHIEF COMPLAINT": "fall", "MEDICATION ON ADMISSION": "aspirin"}


def test_words_of_a_header_inside_a_sentence_end_nothing() -> None:
    text = (
        "HPI:\nshe was at her plan of care, then\ndischarge from the ear began\nand imaging of it"
    )
    assert cut_sections(text)["PRESENT ILLNESS"].endswith("and imaging of it")


@pytest.mark.parametrize("present", CORE_SECTIONS)
def test_one_of_three_sections_is_enough(present: str) -> None:
    assert has_core({present: "x", "ALLERGIES": "NKDA"})
    assert not has_core({present: "___ .", "ALLERGIES": "NKDA"})


@given(st.text())
def test_any_text_is_cut_without_an_error(text: str) -> None:
    assert set(cut_sections(text)) <= set(SECTIONS)


# ---- splits


@given(st.text(min_size=1), st.integers(0, 2**32))
def test_a_patient_is_in_one_split_whatever_else_there_is(patient_id: str, seed: int) -> None:
    assert assign_split(patient_id, SHARES, seed) == assign_split(patient_id, SHARES, seed)
    assert assign_split(patient_id, (1.0, 0.0, 0.0, 0.0), seed) == "train"


def test_splits_have_their_shares_and_change_with_the_seed() -> None:
    splits = [assign_split(str(number), SHARES, 1) for number in range(20_000)]
    for name, share in zip(SPLITS, SHARES, strict=True):
        assert splits.count(name) / 20_000 == pytest.approx(share, abs=0.012)
    other = [assign_split(str(number), SHARES, 2) for number in range(20_000)]
    assert sum(a == b for a, b in zip(splits, other, strict=True)) / 20_000 < 0.5


def cut_rows(patients: list[str], golds: list[str] | None = None) -> pa.Table:
    """What the reader returns for kept notes, as far as splits need it."""
    columns = {"patient_id": patients, "code": golds or ["I214"] * len(patients)}
    return pa.table({**columns, "reason": [""] * len(patients)})


MIMIC = DataConfig(source="mimic", root=Path("mimic"), split_shares=SHARES)


def test_all_admissions_of_a_patient_stay_together() -> None:
    rows = build.split_rows(cut_rows([str(number // 3) for number in range(600)]), MIMIC, 1)
    homes: dict[str, set[str]] = {}
    for patient, split in zip(
        rows["patient_id"].to_pylist(), rows["split"].to_pylist(), strict=True
    ):
        homes.setdefault(patient, set()).add(split)
    assert len(homes) == 200 and all(len(names) == 1 for names in homes.values())


def test_rows_are_shuffled_by_the_seed_within_their_split() -> None:
    splits = [SPLITS[number % 4] for number in range(400)]
    positions = build.order_rows(splits, 1)
    assert sorted(positions.tolist()) == list(range(400))
    assert all(positions[row] // 100 == row % 4 for row in range(400))
    assert positions[::4].tolist() != sorted(positions[::4].tolist())
    assert build.order_rows(splits, 1).tolist() == positions.tolist()
    assert build.order_rows(splits, 2).tolist() != positions.tolist()


@pytest.mark.parametrize("num_patients", [MIN_PATIENTS - 1, MIN_PATIENTS])
def test_a_label_with_enough_patients_is_moved_into_training(num_patients: int) -> None:
    shares = (0.3, 0.2, 0.3, 0.2)
    everyone = [str(number) for number in range(200)]
    splits = {patient: assign_split(patient, shares, 1) for patient in everyone}
    held = [patient for patient in everyone if splits[patient] != "train"][:num_patients]
    labels = [(patient, "J189" if patient in held else "I214") for patient in everyone]
    repaired = repair_splits(splits, labels, seed=1)
    moved = [patient for patient in everyone if repaired[patient] != splits[patient]]
    if num_patients < MIN_PATIENTS:
        assert moved == []
    else:
        assert len(moved) == 1 and moved[0] in held and repaired[moved[0]] == "train"
    assert repair_splits(splits, labels[::-1], seed=1) == repaired  # whatever order they come in


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), max_size=120), st.integers(0, 9))
def test_every_label_with_enough_patients_is_in_training(
    pairs: list[tuple[int, int]], seed: int
) -> None:
    labels = [(str(patient), f"I{code}") for patient, code in pairs]
    splits = {patient: assign_split(patient, SHARES, seed) for patient, _ in labels}
    repaired = repair_splits(splits, labels, seed=seed)
    seen = {code for patient, code in labels if repaired[patient] == "train"}
    enough = {
        code for _, code in labels
        if len({patient for patient, other in labels if other == code}) >= MIN_PATIENTS
    }  # fmt: skip
    assert enough <= seen
    assert all(repaired[one] in (splits[one], "train") for one in splits)


def test_the_embedded_corpus_keeps_the_splits_that_its_wordings_were_drawn_for() -> None:
    patients = [str(number) for number in range(300)]
    decided = {one: "test" if int(one) % 3 else "train" for one in patients}
    decided |= {"0": "validation", "3": "promotion"}
    rows = build.split_rows(cut_rows(patients), DataConfig(), 1, split_of=decided)
    assert rows["split"].to_pylist() == [decided[one] for one in rows["patient_id"].to_pylist()]


def test_training_has_every_label_of_the_embedded_corpus_that_enough_patients_have(
    tmp_path: Path,
) -> None:
    shares = (0.2, 0.3, 0.3, 0.2)  # small enough that the hash alone leaves labels out
    write_tables(load_knowledge(), tmp_path, num_notes=900, shares=shares, seed=1)
    split_of = json.loads((tmp_path / SPLIT_OF).read_text())
    with gzip.open(tmp_path / "hosp/diagnoses_icd.csv.gz", "rt") as file:
        rows = [row for row in csv.DictReader(file) if row["subject_id"] in split_of]
    patients_of: dict[str, set[str]] = {}
    for row in rows:
        if (row["seq_num"], row["icd_version"]) == ("1", "10"):
            patients_of.setdefault(row["icd_code"].strip(), set()).add(row["subject_id"])
    moved = [one for one in split_of if split_of[one] != assign_split(one, shares, 1)]
    assert moved and {split_of[one] for one in moved} == {"train"}
    for patients in patients_of.values():
        assert len(patients) < 4 or "train" in {split_of[one] for one in patients}


def test_an_empty_split_and_an_empty_build_are_refused() -> None:
    with pytest.raises(DataError, match="is empty with 1 patients and a share of"):
        build.split_rows(cut_rows(["1"]), MIMIC, 1)
    dropped = pa.table({"reason": ["addendum", "no_core_section", "addendum"]})
    with pytest.raises(
        DataError, match=r"of 3 rows none is left \(addendum 2, no_core_section 1\)"
    ):
        build.split_rows(dropped, MIMIC, 1)


# ---- profiles


def test_labels_are_billable_in_every_release_and_span_chapters_and_siblings(
    knowledge: Knowledge,
) -> None:
    labels = [profile.code for profile in knowledge.profiles]
    assert len(labels) == len(set(labels)) >= 60
    assert all(codes.is_billable(code, year) for code in labels for year in codes.RELEASES)
    default = [profile.code for profile in load_knowledge(51).profiles]
    assert len({codes.chapter(code) for code in default}) >= 9
    categories = [codes.category(code) for code in default]
    assert sum(categories.count(category) > 1 for category in categories) >= 20


def test_probabilities_are_probabilities_and_names_are_known(knowledge: Knowledge) -> None:
    known = {entry.name for entry in (*knowledge.findings, *knowledge.conditions)}
    for profile in knowledge.profiles:
        assert {*profile.findings, *profile.conditions, *profile.denies} <= known
        assert all(0 < p < 1 for p in (*profile.findings.values(), *profile.conditions.values()))
    assert {finding.place for finding in knowledge.findings} == {"hpi", "detail", "exam", "social"}


def test_no_two_findings_share_a_wording(knowledge: Knowledge) -> None:
    said = [words for finding in knowledge.findings for words in (*finding.say, *finding.held)]
    said += [words for condition in knowledge.conditions for words in condition.say]
    assert len(said) == len(set(said))


def test_more_codes_than_are_authored_are_refused(knowledge: Knowledge) -> None:
    with pytest.raises(ConfigError, match=r"got data.num_codes = 1000"):
        load_knowledge(1000)


# ---- draws and ceiling


def test_the_posterior_is_bayes_rule_worked_by_hand() -> None:
    fever, rash = Finding("fever", "hpi", ("fever",)), Finding("rash", "hpi", ("rash",), noise=0.1)
    a = Profile("A419", "a", weight=3, female=0.5, findings={"fever": 0.5})
    b = Profile("I214", "b", weight=1, female=1.0, findings={"fever": 0.25, "rash": 0.5})
    model = sampling.build_model(Knowledge((fever, rash), (), (a, b)))
    model = replace(model, present=np.array([[0.5, 0.1], [0.25, 0.5]]), denied=np.zeros((2, 2)))
    drawn = sampling.Draws(
        patient=np.array([0, 1]),
        code=np.array([0, 1]),
        female=np.array([True, False]),
        onset=np.array([sampling.NO_ONSET, 0]),
        findings=np.array([[1, 0], [1, 1]], dtype=np.int8),
        conditions=np.zeros((2, 0), dtype=bool),
    )
    weight_a = 0.75 * 0.5 * 0.5 * 0.9
    weight_b = 0.25 * 1.0 * 0.25 * 0.5
    shares = sampling.posterior(model, drawn)
    assert shares[0] == pytest.approx([weight_a, weight_b] / np.sum([weight_a, weight_b]))
    assert shares[1] == pytest.approx([1.0, 0.0])  # b is never male


def test_the_posterior_is_calibrated_on_what_the_generator_draws(knowledge: Knowledge) -> None:
    model = sampling.build_model(knowledge)
    drawn = sampling.draw_admissions(model, 8000, seed=2)
    shares = sampling.posterior(model, drawn)
    is_right = shares.argmax(axis=1) == drawn.code
    assert is_right.mean() == pytest.approx(shares.max(axis=1).mean(), abs=0.015)
    assert 0.85 <= is_right.mean() <= 0.93


def test_labels_are_long_tailed_but_none_is_rare(knowledge: Knowledge) -> None:
    model = sampling.build_model(load_knowledge(51))
    counts = np.bincount(sampling.draw_admissions(model, 6000, seed=1).code, minlength=51)
    assert counts.max() / counts.min() > 3
    assert counts.min() >= 40


def test_patients_have_one_to_three_admissions_and_one_sex(knowledge: Knowledge) -> None:
    drawn = sampling.draw_admissions(sampling.build_model(knowledge), 3000, seed=1)
    counts = np.bincount(drawn.patient)
    assert set(counts.tolist()) == {1, 2, 3}
    for patient in np.flatnonzero(counts > 1)[:50]:
        assert len(set(drawn.female[drawn.patient == patient].tolist())) == 1


def test_sex_specific_codes_go_to_patients_of_that_sex(knowledge: Knowledge) -> None:
    drawn = sampling.draw_admissions(sampling.build_model(knowledge), 6000, seed=1)
    pregnancy = [i for i, p in enumerate(knowledge.profiles) if codes.chapter(p.code) == "XV"]
    assert drawn.female[np.isin(drawn.code, pregnancy)].all()


# ---- wording


def test_what_was_drawn_can_be_read_back_from_the_note(knowledge: Knowledge, corpus) -> None:
    drawn, _, notes = corpus
    findings = np.array([finding.name for finding in knowledge.findings])
    conditions = np.array([condition.name for condition in knowledge.conditions])
    for row, note in enumerate(notes):
        present = set(findings[drawn.findings[row] == sampling.PRESENT])
        present |= set(conditions[drawn.conditions[row]])
        assert {mention.name for mention in find_mentions(note)} == present


def test_held_out_wordings_are_in_test_notes_and_never_in_training(
    knowledge: Knowledge, corpus
) -> None:
    _, texts, _ = corpus
    held = [words for finding in knowledge.findings for words in finding.held]
    seen = {parity: " ".join(texts[parity::2]) for parity in (0, 1)}
    assert not [words for words in held if words in seen[0]]
    assert sum(words in seen[1] for words in held) > 50


def test_no_note_tells_the_disease_or_the_title_and_every_summary_does(
    knowledge: Knowledge, corpus
) -> None:
    drawn, texts, notes = corpus
    for code, text, note in zip(drawn.code, texts, notes, strict=True):
        profile = knowledge.profiles[code]
        title = codes.title(profile.code)
        assert profile.disease in text
        assert title in text
        assert title.lower() not in note.lower()
        assert "was treated for" not in note


def test_notes_are_short(corpus) -> None:
    lengths = [len(note) for note in corpus[2]]
    assert 200 < np.mean(lengths) < 340
    assert max(lengths) < 650


def test_equal_seeds_write_equal_bytes(tmp_path: Path) -> None:
    few = load_knowledge(5)
    for name in ("a", "b", "c"):
        seed = 2 if name == "c" else 1
        write_tables(few, tmp_path / name, num_notes=40, shares=SHARES, seed=seed)
    files = [f"{table}.csv.gz" for table in HEADERS]
    for table in files:
        assert (tmp_path / "a" / table).read_bytes() == (tmp_path / "b" / table).read_bytes()
    first = tmp_path / "a" / files[0]
    assert first.read_bytes() != (tmp_path / "c" / files[0]).read_bytes()
    with gzip.open(first, "rt", newline="") as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == HEADERS["note/discharge"]
    assert len({row[0] for row in rows[1:]}) == len(rows) - 1


def test_the_ceiling_is_scored_by_split_with_the_one_scorer(tmp_path: Path) -> None:
    ceiling = write_tables(load_knowledge(5), tmp_path, num_notes=300, shares=SHARES, seed=1)
    assert set(ceiling) == set(SPLITS)
    assert sum(scores["num_notes"] for scores in ceiling.values()) == 300
    assert all(0.5 < scores["hierarchical_f1"] <= 1 for scores in ceiling.values())


# ---- rows of the reader


def rows_of(notes: list[dict[str, str]], labels: dict[str, str]) -> list[dict[str, str]]:
    base = {"subject_id": "1", "note_type": "DS", "note_seq": "1", "text": "CC: fall"}
    block = pa.Table.from_pylist([{**base, **note} for note in notes])
    codes_ = pa.table({"hadm_id": list(labels), "icd_code": list(labels.values())})
    admissions = pa.table(
        {"hadm_id": ["10"], "subject_id": ["1"], "race": ["WHITE"], "insurance": ["Other"]}
    )
    patients = pa.table({"subject_id": ["1"], "gender": ["F"], "anchor_age": ["67"]})
    return reader.Known(codes_, admissions, patients).to_rows(block).to_pylist()


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
    assert reason in reader.REASONS


def test_the_first_summary_of_an_admission_counts_and_a_text_counts_once(tmp_path: Path) -> None:
    notes = [
        {"note_id": "a", "hadm_id": "10", "note_seq": "12", "text": "CC: later"},
        {"note_id": "b", "hadm_id": "10", "note_seq": "3", "text": "CC: first"},
        {"note_id": "c", "hadm_id": "11", "text": "CC: first"},
    ]
    rows = pa.Table.from_pylist(rows_of(notes, {"10": "I2510", "11": "I214"}))
    marked = reader.mark_repeats(reader.write_part(rows, tmp_path))["reason"].to_pylist()
    assert marked == ["later_summary", "", "repeated_text"]


@pytest.mark.parametrize(
    ("age", "band"), [("18", "10-19"), ("67", "60-69"), ("91", "80+"), ("", None), (None, None)]
)
def test_ages_fall_into_bands(age: str | None, band: str | None) -> None:
    assert reader.age_band(age) == band


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([("1", "banana")], r"must be an ICD-10-CM code .* got 'BANANA' and 0 more in t.csv"),
        ([("1", "I214"), ("1", "I10")], "one diagnosis with seq_num 1; 1 have more in t.csv"),
    ],
)
def test_broken_labels_are_refused(rows: list[tuple[str, str]], match: str) -> None:
    table = pa.table({"hadm_id": [r[0] for r in rows], "icd_code": [r[1] for r in rows]})
    with pytest.raises(DataError, match=match):
        reader.principal_diagnoses(table, Path("t.csv"))


def test_labels_may_be_padded_dotted_and_lower_case() -> None:
    table = pa.table({"hadm_id": ["1", "2", "3"], "icd_code": ["i25.10", "I214   ", "C4A9"]})
    labels = reader.principal_diagnoses(table, Path("t.csv"))
    assert labels["icd_code"].to_pylist() == ["I2510", "I214", "C4A9"]


def test_a_missing_table_and_a_missing_column_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no table note/discharge under"):
        tables.find_table(tmp_path, "note/discharge")
    table = tmp_path / "t.csv"
    table.write_text("note_id,TEXT\n1,x\n")
    with pytest.raises(DataError, match=r"t\.csv has no column text; its header is note_id, TEXT"):
        tables.check_columns(table, ("note_id", "text"))
    broken = tmp_path / "t.csv.gz"
    broken.write_bytes(gzip.compress(b"note_id,text\n" * 1000)[:12])
    with pytest.raises(
        DataError, match=r"t\.csv\.gz cannot be read .* cut off: it ends at byte 12 "
    ):
        tables.check_columns(broken, ("note_id",))


# ---- files


def test_a_split_survives_the_file_in_order(tmp_path: Path) -> None:
    notes = [replace(note_of(3), sex="F"), note_of(1), note_of(2)]
    split_files.write_split(notes, tmp_path / "train.parquet")
    assert read_split(tmp_path / "train.parquet") == notes


def test_missing_and_foreign_split_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no split at .*deepicd notes build"):
        read_split(tmp_path / "none.parquet")
    foreign = tmp_path / "x.parquet"
    pa.parquet.write_table(pa.table({"a": [1]}), foreign)
    with pytest.raises(DataError, match="is not a split of notes"):
        read_split(foreign)


def test_a_failing_build_keeps_the_former_folder_and_leaves_nothing_beside_it(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    with replaced_folder(out, marker="x") as folder:
        (folder / "x").write_text("old")

    def fail_half_way() -> None:
        with replaced_folder(out, marker="x") as folder:
            (folder / "x").write_text("new")
            raise RuntimeError("half")

    with pytest.raises(RuntimeError, match="half"):
        fail_half_way()
    assert (out / "x").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_no_build_wrote_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "note").mkdir()
    (tmp_path / "note" / "discharge.csv.gz").write_bytes(b"precious")

    def replace_it() -> None:
        with replaced_folder(tmp_path, marker="report.json"):
            pass

    with pytest.raises(ConfigError, match=r"is not replaced: it is not empty and holds no report"):
        replace_it()
    assert (tmp_path / "note" / "discharge.csv.gz").read_bytes() == b"precious"


def test_the_report_counts_splits_labels_chapters_lengths_and_reasons() -> None:
    columns = {"split": SPLITS, "patient_id": SPLITS, "num_characters": [5, 10, 15, 59]}
    kept = pa.table({**columns, "code": ["I214", "I214", "J189", "I214"]})
    summary = report.summarise(kept, ["", "addendum", "addendum", "", "", ""])
    assert summary["num_notes"] == 4
    assert summary["dropped"] == {"addendum": 2}
    assert summary["labels"]["J189"] == {"train": 0, "validation": 0, "test": 1, "promotion": 0}
    assert summary["labels_unseen_in_train"] == {"validation": 0, "test": 1, "promotion": 0}
    assert summary["splits"]["test"]["characters_max"] == 15
    assert summary["chapters"]["X"] == summary["labels"]["J189"]
    lengths = summary["lengths"]
    assert [lengths["counts"][bin] for bin in (2, 5, 7, 29)] == [1, 1, 1, 1]
    assert (lengths["edges"][0], lengths["edges"][-1], sum(lengths["counts"])) == (0, 60, 4)


# ---- parts and identity


@pytest.mark.parametrize("rows_per_bucket", [3, 1000])
def test_rows_of_any_parts_are_written_in_the_order_that_is_asked_for(
    tmp_path: Path, rows_per_bucket: int
) -> None:
    notes = [note_of(number) for number in range(40)]
    split_files.write_split(notes[:25], tmp_path / "a")
    split_files.write_split(notes[25:], tmp_path / "b")
    positions = np.full(39, -1)  # the last row goes nowhere too
    kept = [row for row in range(39) if row != 7]
    positions[kept] = np.random.default_rng(1).permutation(38)
    places = {"a": positions[:25], "b": positions[25:]}
    wanted = [notes[row] for row in sorted(kept, key=lambda row: positions[row])]
    sizes = {"train": 20, "test": 18}
    hashes = split_writer.write_splits(
        tmp_path, places, sizes=sizes, rows_per_bucket=rows_per_bucket, out=tmp_path
    )
    read = [note for name in sizes for note in read_split(tmp_path / f"{name}.parquet")]
    assert read == wanted
    for name in sizes:
        assert identity.hash_split(tmp_path / f"{name}.parquet") == hashes[name]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a", "b", "test.parquet", "train.parquet",
    ]  # fmt: skip


def test_a_resume_takes_only_the_notes_it_would_build(tmp_path: Path) -> None:
    config = DataConfig(num_notes=200)
    for number, name in enumerate(SPLITS):
        split_files.write_split([note_of(number)], tmp_path / f"{name}.parquet")
    hashes = {name: identity.hash_split(tmp_path / f"{name}.parquet") for name in SPLITS}
    stored = {"identity": identity.identify(config, seed=1, hashes=hashes)}
    (tmp_path / "report.json").write_text(json.dumps(stored))
    same = config.model_copy(update={"max_prompt_tokens": 64, "root": Path("moved")})
    assert identity.check_identity(tmp_path, same, seed=1) == stored
    other = config.model_copy(update={"num_notes": 300})
    with pytest.raises(DataError, match=r"settings.num_notes is 200 there and 300 here; seed is 1"):
        identity.check_identity(tmp_path, other, seed=2)
    split_files.write_split([note_of(9)], tmp_path / "test.parquet")
    with pytest.raises(DataError, match=r"holds other notes .*: splits.test is [0-9a-f]+ there"):
        identity.check_identity(tmp_path, config, seed=1)
    (tmp_path / "test.parquet").unlink()
    with pytest.raises(MissingError, match=r"no split at .*test\.parquet"):
        identity.check_identity(tmp_path, config, seed=1)


def test_text_of_a_credentialed_source_is_not_shown_unasked(tmp_path: Path) -> None:
    split_files.write_split([note_of(1)], tmp_path / "train.parquet")
    (tmp_path / "report.json").write_text('{"source": "mimic"}')
    with pytest.raises(ConfigError, match="credentialed and not printed; add --show-text"):
        read_note(tmp_path, "train", row=0, is_text_shown=False)
    assert read_note(tmp_path, "train", row=0, is_text_shown=True)["note_id"] == "n0001"
    with pytest.raises(ConfigError, match="row must be from 0 to 0"):
        read_note(tmp_path, "train", row=1, is_text_shown=True)
    with pytest.raises(ConfigError, match="unknown split 'dev'"):
        read_note(tmp_path, "dev", row=0, is_text_shown=True)


def test_a_report_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no report at"):
        report.read_report(tmp_path)
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(DataError, match="is not JSON"):
        report.read_report(tmp_path)
