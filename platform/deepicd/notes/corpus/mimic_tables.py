"""The embedded corpus, written as MIMIC-IV tables.

In: knowledge, number of labelled admissions, shares of the splits, seed. Out:
`note/discharge.csv.gz` and `hosp/{diagnoses_icd,admissions,patients,d_icd_diagnoses}.csv.gz` with
MIMIC-IV's headers, and the score that a perfect reader would reach. Decided here: ids lie outside
MIMIC's ranges; beside the labelled admissions stand some that the reader must leave out (ICD-9 era,
addenda, notes without a core section); codes are padded with blanks as in some releases.
"""

import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from deepicd import codes, scoring
from deepicd.files import json_text
from deepicd.notes.corpus import sampling
from deepicd.notes.corpus.profiles import Knowledge
from deepicd.notes.corpus.text import AdmissionFacts, Writer
from deepicd.notes.splits import assign_split, repair_splits
from deepicd.records import Prediction

HEADERS: Mapping[str, tuple[str, ...]] = {
    "note/discharge": (
        *("note_id", "subject_id", "hadm_id", "note_type", "note_seq", "charttime", "storetime"),
        "text",
    ),
    "hosp/diagnoses_icd": ("subject_id", "hadm_id", "seq_num", "icd_code", "icd_version"),
    "hosp/admissions": (
        *("subject_id", "hadm_id", "admittime", "dischtime", "deathtime", "admission_type"),
        *("admit_provider_id", "admission_location", "discharge_location", "insurance"),
        *("language", "marital_status", "race", "edregtime", "edouttime", "hospital_expire_flag"),
    ),
    "hosp/patients": (
        *("subject_id", "gender", "anchor_age", "anchor_year", "anchor_year_group", "dod"),
    ),
    "hosp/d_icd_diagnoses": ("icd_code", "icd_version", "long_title"),
}
"""Columns of the tables that are written, as in MIMIC-IV 2.2."""

_FIRST_PATIENT, _FIRST_ADMISSION = 90_000_001, 80_000_001
CEILING = "ceiling.json"
"""Scores of the Bayes-optimal reader by split, beside the tables."""
CEILING_ANSWERS = "ceiling_answers.json"
"""Note id → the Bayes-optimal reader's code, beside the tables."""
SPLIT_OF = "split_of.json"
"""Patient → the split whose phrases its notes have, beside the tables."""

# Named as often as they are to be drawn.
_RACES = (
    "WHITE",
    "WHITE",
    "WHITE",
    "BLACK/AFRICAN AMERICAN",
    "HISPANIC/LATINO",
    "ASIAN",
    "UNKNOWN",
)
_INSURANCES = ("Medicare", "Medicare", "Other", "Medicaid")

Row = Sequence[str | int]


@dataclass(frozen=True)
class Admission:
    """One sampled admission with its ids and its summary."""

    patient_id: str
    admission_id: str
    code: str
    is_female: bool
    text: str
    secondary: tuple[str, ...]


def write_tables(
    knowledge: Knowledge, root: Path, *, num_notes: int, shares: Sequence[float], seed: int
) -> dict[str, dict[str, float]]:
    """Write all tables under `root`; returns the ceiling's scores by split."""
    model = sampling.build_model(knowledge)
    sample = sampling.sample_admissions(model, num_notes, seed)
    splits = _split_patients(knowledge, sample, shares=shares, seed=seed)
    admissions = list(write_summaries(knowledge, sample, splits=splits, seed=seed))
    extras = _spoil(admissions[: max(1, num_notes // 100)])
    for name, rows in _tables(admissions, extras, seed).items():
        _write_csv(root / f"{name}.csv.gz", HEADERS[name], rows)
    best = [
        code
        for chunk in sample.chunks()
        for code in sampling.posterior(model, chunk).argmax(axis=1).tolist()
    ]
    ceiling = _score_ceiling(knowledge, sample, best, splits=splits)
    (root / CEILING).write_text(json_text(ceiling) + "\n")
    answers = {
        _note_id(admission, "DS"): knowledge.profiles[code].code
        for admission, code in zip(admissions, best, strict=True)
    }
    (root / CEILING_ANSWERS).write_text(json.dumps(answers) + "\n")
    split_of = {
        _patient_id(index): split for index, split in zip(sample.patient, splits, strict=True)
    }
    (root / SPLIT_OF).write_text(json.dumps(split_of) + "\n")
    return ceiling


def _split_patients(
    knowledge: Knowledge, sample: sampling.Sample, *, shares: Sequence[float], seed: int
) -> list[str]:
    """Split of every admission, before its text is written: held-out phrases depend on it."""
    patients = [_patient_id(index) for index in sample.patient.tolist()]
    labels = [knowledge.profiles[index].code for index in sample.code.tolist()]
    by_hash = {patient: assign_split(patient, shares, seed) for patient in patients}
    repaired = repair_splits(by_hash, zip(patients, labels, strict=True), seed=seed)
    return [repaired[patient] for patient in patients]


def write_summaries(
    knowledge: Knowledge, sample: sampling.Sample, *, splits: Sequence[str], seed: int
) -> Iterator[Admission]:
    """Discharge summaries of sampled admissions; held-out phrases only outside of training."""
    for index, split in enumerate(splits):
        profile = knowledge.profiles[sample.code[index]]
        states = sample.findings[index]
        conditions = [knowledge.conditions[i] for i in sample.conditions[index].nonzero()[0]]
        facts = AdmissionFacts(
            is_female=bool(sample.female[index]),
            onset=int(sample.onset[index]),
            present=[knowledge.findings[i] for i in (states == sampling.PRESENT).nonzero()[0]],
            denied=[knowledge.findings[i] for i in (states == sampling.DENIED).nonzero()[0]],
            conditions=conditions,
            disease=profile.disease,
            title=codes.title(profile.code),
        )
        # A generator of its own: a text does not depend on how many admissions came before.
        writer = Writer(Random(seed * 1_000_003 + index), is_held=split != "train")
        yield Admission(
            patient_id=_patient_id(int(sample.patient[index])),
            admission_id=str(_FIRST_ADMISSION + index),
            code=profile.code,
            is_female=facts.is_female,
            text=writer.summary(facts),
            secondary=tuple(c.code for c in conditions if c.code != profile.code),
        )


def _spoil(admissions: Sequence[Admission]) -> list[tuple[str, Admission]]:
    """Copies of admissions under new patients, each with a fault that the reader must see."""
    spoiled = []
    for index, old in enumerate(admissions):
        for offset, fault in enumerate(("icd9", "no_core")):
            number = 2 * index + offset
            text = old.text if fault == "icd9" else "Allergies:\nNKDA\n\nPhysical Exam:\nVSS\n"
            new = Admission(
                patient_id=str(_FIRST_PATIENT + 5_000_000 + number),
                admission_id=str(_FIRST_ADMISSION + 5_000_000 + number),
                code="4019" if fault == "icd9" else old.code,
                is_female=old.is_female,
                text=text,
                secondary=(),
            )
            spoiled.append((fault, new))
    return spoiled


def _tables(
    admissions: Sequence[Admission], extras: Sequence[tuple[str, Admission]], seed: int
) -> dict[str, list[Row]]:
    rng = Random(seed)
    icd9 = {new.admission_id for fault, new in extras if fault == "icd9"}
    everyone = [*admissions, *(new for _, new in extras)]
    rng.shuffle(everyone)
    listed = dict.fromkeys(
        code for admission in admissions for code in (admission.code, *admission.secondary)
    )
    addenda = sorted(admissions, key=lambda admission: admission.admission_id)[: len(extras) // 2]
    return {
        "note/discharge": [
            *(_note_row(admission, "DS", admission.text) for admission in everyone),
            *(_note_row(admission, "AD", "Addendum: call PCP") for admission in addenda),
        ],
        "hosp/diagnoses_icd": [
            row
            for admission in everyone
            for row in _diagnosis_rows(admission, admission.admission_id in icd9)
        ],
        "hosp/admissions": [_admission_row(admission, rng) for admission in everyone],
        "hosp/patients": _patient_rows(everyone, rng),
        "hosp/d_icd_diagnoses": [(code.ljust(7), 10, codes.title(code)) for code in sorted(listed)],
    }


def _note_row(admission: Admission, kind: str, text: str) -> Row:
    sequence = 1 if kind == "DS" else 2
    time = "2150-01-02 00:00:00"
    ids = (_note_id(admission, kind), admission.patient_id, admission.admission_id)
    return (*ids, kind, sequence, time, time, text)


def _note_id(admission: Admission, kind: str) -> str:
    return f"{admission.patient_id}-{kind}-{int(admission.admission_id) - _FIRST_ADMISSION + 1}"


def _diagnosis_rows(admission: Admission, is_icd9: bool) -> Iterator[Row]:
    version = 9 if is_icd9 else 10
    for number, code in enumerate((admission.code, *admission.secondary), start=1):
        # Padded, as in MIMIC-IV, whose column has a fixed width.
        yield (admission.patient_id, admission.admission_id, number, code.ljust(7), version)


def _admission_row(admission: Admission, rng: Random) -> Row:
    insurance, race = rng.choice(_INSURANCES), rng.choice(_RACES)
    times = ("2150-01-01 00:00:00", "2150-01-05 00:00:00", "")
    kind = ("EW EMER.", "P00XXX", "EMERGENCY ROOM", "HOME")
    rest = (insurance, "ENGLISH", "", race, "", "", 0)
    return (admission.patient_id, admission.admission_id, *times, *kind, *rest)


def _patient_rows(everyone: Iterable[Admission], rng: Random) -> list[Row]:
    patients: dict[str, Row] = {}
    for admission in everyone:
        gender = "F" if admission.is_female else "M"
        is_young = admission.code.startswith("O")  # chapter XV: pregnancy
        # MIMIC-IV gives everyone above 89 the age of 91: nobody is older.
        age = rng.randint(18, 42) if is_young else min(91, max(18, round(rng.gauss(62, 16))))
        # MIMIC has one row and one age a patient, which must fit her pregnancy where she has one.
        if admission.patient_id not in patients or is_young:
            row = (admission.patient_id, gender, age, 2150, "2017 - 2019", "")
            patients[admission.patient_id] = row
    return [patients[patient_id] for patient_id in sorted(patients)]


def _score_ceiling(
    knowledge: Knowledge,
    sample: sampling.Sample,
    best: Sequence[int],
    *,
    splits: Sequence[str],
) -> dict[str, dict[str, float]]:
    by_split: dict[str, list[Prediction]] = {}
    for index, split in enumerate(splits):
        answer = Prediction(
            note_id=str(index),
            patient_id=str(sample.patient[index]),
            gold=knowledge.profiles[sample.code[index]].code,
            prediction=knowledge.profiles[best[index]].code,
        )
        by_split.setdefault(split, []).append(answer)
    return {
        split: dict(scoring.score_predictions(answers))
        for split, answers in sorted(by_split.items())
    }


def _patient_id(index: int) -> str:
    return str(_FIRST_PATIENT + index)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Row]) -> None:
    """Write one table; the gzip header carries no time, so equal seeds give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
        text = io.TextIOWrapper(packed, encoding="utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
        # The wrapper holds back what it has not written, and is not closed with the file.
        text.flush()
