"""Three invented extracts in MIMIC-IV's shape, different in layout, and what a build finds in them.

Words of the stay begin with LATE, so that a leak can be told.
"""

# ruff: noqa: W291, W293  # MIMIC-IV has blanks at the ends of lines and on empty ones

import csv
import gzip
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from deepicd.notes.corpus.mimic_tables import HEADERS

Row = dict[str, Any]


class Fixture(NamedTuple):
    """An extract: how it is written, and what has to come out of it."""

    write: Callable[[Path], None]
    num_notes: int
    dropped: Mapping[str, int]
    codes: frozenset[str]
    note: tuple[str, Mapping[str, str]]
    """Id of one note, and what is known of it."""
    words: tuple[str, ...]
    """In the text of that note."""


FORMAL = """ 
Name:  ___                     Unit No:   ___
 
Admission Date:  ___              Discharge Date:   ___
 
Date of Birth:  ___             Sex:   F
 
Service: MEDICINE
 
Allergies: 
Penicillins / Sulfa number {number}
 
Attending: ___.
 
Chief Complaint:
{sign}
 
Major Surgical or Invasive Procedure:
LATE procedure {number}

 
History of Present Illness:
___ year old woman, number {number}, with {sign} for {days} days, worse at night, "like
never before", no fever. In the ED, initial vitals were 98.{days} {pulse} 120/70.
 
Past Medical History:
Gout number {number}, hypertension
 
Social History:
___
Family History:
Mother had diabetes, number {number}.
 
Physical Exam:
ADMISSION PHYSICAL EXAM: 
VITALS: HR {pulse}
LUNGS: clear, number {number}
 
DISCHARGE PHYSICAL EXAM:
LATE clear lungs
 
Pertinent Results:
LATE labs {number}
 
Brief Hospital Course:
LATE {sign} was treated.
 
Medications on Admission:
The Preadmission Medication list is accurate and complete.
1. Lisinopril {days}0 mg PO DAILY
 
Discharge Medications:
1. LATE Lisinopril RX *lisinopril Disp #*30 Tablet Refills:*0
 
Discharge Disposition:
LATE home
 
Discharge Diagnosis:
LATE {sign}
 
Followup Instructions:
___
"""
BRIEF = (
    "CC: {sign}\n\nHPI: {days}0M number {number} p/w {sign} x {days}d; denies CP/SOB.\n\n"
    "PMHx: COPD, CKD {days}, s/p appy number {number}\n\nHOME MEDS: asa, metop {pulse}\n\n"
    "NKDA\n\nPE ON ADMIT: HR {pulse}, number {number}, nad\n\nHOSPITAL COURSE BY PROBLEM:\n"
    "# LATE {sign}: better\n\nEXAM ON D/C: LATE afebrile\n\nDISPO: LATE rehab\n"
)
LAYERED = (
    "*** DISCHARGE SUMMARY ***\n\n[CHIEF COMPLAINT / REASON FOR ADMISSION]\n{sign}\n\n"
    "[HISTORY OF PRESENTING COMPLAINT]\nPatient number {number} with {sign} since {days} days.\n\n"
    "[PAST MEDICAL AND SURGICAL HISTORY]\n- gout {number}\n- asthma\n\n"
    "[EXAMINATION (ON ADMISSION)]\nPulse {pulse}, number {number}\n\n"
    "[EXAMINATION (ON DISCHARGE)]\nLATE well\n\n[MEDICATIONS ON DISCHARGE]\nLATE prednisone\n\n"
    "[SUMMARY OF STAY]\nLATE number {number} improved\n"
)
SIGNS = ("cough", "chest pain", "abdominal pain", "a fall", "confusion", "leg swelling", "nausea")


def _text(layout: str, number: int) -> str:
    return layout.format(
        number=number,
        sign=SIGNS[number % len(SIGNS)],
        days=1 + number % 9,
        pulse=60 + number,
    )


def _write(
    path: Path, rows: Iterable[Row], *, encode: Callable[[str], bytes], reverse: bool = False
) -> None:
    name = f"{path.parent.name}/{path.name.partition('.')[0]}"
    header: Sequence[str] = HEADERS[name][::-1] if reverse else HEADERS[name]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(
        text, header, restval="", quoting=csv.QUOTE_ALL if reverse else csv.QUOTE_MINIMAL
    )
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(text.getvalue()))


def _note(number: int, text: str, *, kind: str = "DS", seq: int = 1, **other: Any) -> Row:
    patient = other.pop("subject_id", 91_000_000 + number)
    stay = other.pop("hadm_id", 81_000_000 + number)
    row = {"note_id": f"{91_000_000 + number}-{kind}-{seq}", "subject_id": patient, "hadm_id": stay}
    return {**row, "note_type": kind, "note_seq": seq, "charttime": "2150-01-02", "text": text}


def _label(number: int, code: str, *, seq: int = 1, version: int = 10, **other: Any) -> Row:
    row = {"subject_id": 91_000_000 + number, "hadm_id": 81_000_000 + number, "seq_num": seq}
    return {**row, "icd_code": code, "icd_version": version, **other}


def _stay(number: int, **other: Any) -> Row:
    row = {"subject_id": 91_000_000 + number, "hadm_id": 81_000_000 + number}
    return {
        **row,
        "admittime": "2153-05-01 03:00:00",
        "insurance": "Other",
        "race": "ASIAN",
    } | other


def _person(number: int, **other: Any) -> Row:
    row = {"subject_id": 91_000_000 + number, "gender": "F", "anchor_age": 48, "anchor_year": 2150}
    return {**row, "anchor_year_group": "2017 - 2019"} | other


def _packed(root: Path) -> None:
    """All tables packed: addenda, a second summary, ICD-9 stays, secondary diagnoses."""
    numbers = range(60)
    notes = [_note(one, _text(FORMAL, one)) for one in numbers]
    notes += [_note(0, "LATE addendum", kind="AD"), _note(1, _text(FORMAL, 901), seq=2)]
    codes = ("J189", "I2510", "K5730", "S72001A")
    labels = [_label(one, codes[one % 4]) for one in numbers if one > 1]
    labels += [_label(0, "4280", version=9), _label(1, "M25551")]
    labels += [_label(one, "Z7901", seq=2) for one in numbers]
    tables = {
        "note/discharge": notes,
        "hosp/diagnoses_icd": labels,
        "hosp/admissions": [_stay(one) for one in numbers],
        "hosp/patients": [_person(one) for one in numbers],
    }
    for name, rows in tables.items():
        path = root / f"{name}.csv.gz"
        _write(path, rows, encode=lambda text: gzip.compress(text.encode(), mtime=0))


def _marked(root: Path) -> None:
    """Plain CSV of a Windows tool: a mark, CRLF also within texts, quotes, other column order."""
    numbers = range(50)
    notes = [_note(one, _text(BRIEF, one)) for one in numbers]
    notes += [_note(70, "Seen and well."), _note(71, " ")]
    numbers = [*numbers, 70, 71]
    labels = [_label(one, ("n17.9 ", "J44.1", "R55  ")[one % 3]) for one in numbers]
    tables = {
        "note/discharge": notes[::-1],
        "hosp/diagnoses_icd": labels,
        "hosp/admissions": [_stay(one, race="WHITE - RUSSIAN") for one in numbers],
        "hosp/patients": [_person(one, gender="M", anchor_age=89) for one in numbers],
    }
    for name, rows in tables.items():
        _write(root / f"{name}.csv", rows, encode=_as_windows, reverse=True)


def _as_windows(text: str) -> bytes:
    return text.replace("\r\n", "\n").replace("\n", "\r\n").encode("utf-8-sig")


MIDYEAR = ("U07.1", "U07.0", "J12.82", "M3581", "Z20822", "QA00.101")


def _quirks(root: Path) -> None:
    """Codes that began in mid-year; ids with blanks and zeros, stays of one patient, or none."""
    numbers = range(48)
    first = {"subject_id": "0091", "hadm_id": " 81000000"}
    notes = [_note(0, _text(LAYERED, 0), **first)]
    notes += [_note(one, _text(LAYERED, one)) for one in numbers[2:]]
    # A second stay of the first patient, whose id is a text with zeros.
    notes += [_note(1, _text(LAYERED, 1), subject_id="0091 ")]
    notes += [
        _note(80, _text(LAYERED, 80), hadm_id=""),
        _note(81, _text(LAYERED, 81), hadm_id="NaN"),
    ]
    notes += [_note(82, _text(LAYERED, 82))]
    labels = [_label(one, MIDYEAR[one % len(MIDYEAR)]) for one in numbers]
    labels += [_label(82, "U07.9")]
    owner = {0: "0091", 1: "0091"}
    stays = [
        _stay(one, subject_id=owner.get(one, 91_000_000 + one), admittime="2149-12-31 23:59:00")
        for one in (*numbers, 82)
    ]
    people = [_person(one, anchor_age=91, gender="") for one in (*numbers[2:], 82)]
    people += [_person(0, subject_id="0091", anchor_age=20)]
    tables = {
        "note/discharge": notes,
        "hosp/diagnoses_icd": labels,
        "hosp/admissions": stays,
        "hosp/patients": people,
    }
    for name, rows in tables.items():
        _write(root / f"{name}.csv", rows, encode=str.encode)


FIXTURES: Mapping[str, Fixture] = {
    "packed tables": Fixture(
        _packed,
        59,
        {"addendum": 1, "later_summary": 1, "no_icd10_principal": 1},
        frozenset(("J189", "I2510", "K5730", "S72001A", "M25551")),
        ("91000007-DS-1", {"age_band": "50-59", "sex": "F", "race": "ASIAN"}),
        ("Penicillins / Sulfa number 7", "ED, initial vitals", "Lisinopril 80 mg", "HR 67"),
    ),
    "a tool of Windows": Fixture(
        _marked,
        50,
        {"empty_text": 1, "no_core_section": 1},
        frozenset(("N179", "J441", "R55")),
        ("91000004-DS-1", {"age_band": "80+", "sex": "M", "race": "WHITE - RUSSIAN"}),
        ("confusion", "s/p appy number 4", "asa, metop 64", "HR 64, number 4"),
    ),
    "codes of mid-year and odd ids": Fixture(
        _quirks,
        48,
        {"no_admission_id": 2, "unknown_code": 1},
        frozenset(("U071", "U070", "J1282", "M3581", "Z20822", "QA00101")),
        ("91000000-DS-1", {"patient_id": "0091", "admission_id": "81000000", "age_band": "10-19"}),
        ("Patient number 0", "gout 0", "Pulse 60"),
    ),
}
