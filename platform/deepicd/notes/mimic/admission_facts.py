"""What the short tables say of a note: its label, age and subgroups, and why it may be left out.

In: diagnoses, admissions and patients as Arrow tables; a block of the notes table. Out: the block's
notes, cut (`columns.ROWS_SCHEMA`). Decided here: the code table alone decides what a code is; the
first reason to leave a note out is the one that is given. Tables are joined by value, block by
block, so that notes can stream past them.

No text and no identifier of a row is put into an error: MIMIC-IV is credentialed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deepicd import codes
from deepicd.errors import DataError
from deepicd.notes.mimic.columns import PASSAGE, ROWS_SCHEMA
from deepicd.notes.mimic.kinds import kind_of
from deepicd.notes.mimic.late_passages import sample_passages
from deepicd.notes.mimic.sections import cut_summary, has_core, render_note
from deepicd.notes.mimic.year_columns import AGE, YEAR

NOTE_IDS = ("note_id", "subject_id", "hadm_id", "note_type", "note_seq")
"""Columns of the notes table beside its text."""

NOT_LOOKED_AT = "-"
"""Kind of a note whose text was not read, because it is left out for its row alone."""

_MAX_UNKNOWN_CODES = 0.5
"""Share of principal codes that no release knows above which the column is of something else."""


class AdmissionFacts:
    """What the short tables know, laid out for joins: sorted by nothing, looked up by value."""

    def __init__(self, labels: pa.Table, admissions: pa.Table, patients: pa.Table) -> None:
        self.labels, self.admissions, self.patients = labels, admissions, patients
        distinct = pc.unique(labels["icd_code"]).to_pylist()
        self.billable = pa.array(
            [code for code in distinct if codes.is_billable(code)], pa.string()
        )

    def to_rows(self, notes: pa.Table) -> pa.Table:
        """One block of the notes table, as `tables.read_batches` gives it, as `ROWS_SCHEMA`."""
        admission, patient = notes["hadm_id"], notes["subject_id"]
        code = look_up(admission, self.labels, key="hadm_id", value="icd_code")
        reason = _reasons(notes["note_type"], admission, code, billable=self.billable)
        texts = pc.fill_null(notes["text"], "").to_pylist()
        names = notes["note_id"].to_pylist()
        cut = [cut_note(*row) for row in zip(names, texts, reason, strict=True)]
        ages = self._ages(admission, patient)
        columns = {
            "note_id": notes["note_id"],
            "patient_id": patient,
            "admission_id": admission,
            "code": code,
            "age_band": pa.array([age_band(years) for years in ages], pa.string()),
            "sex": look_up(patient, self.patients, key="subject_id", value="gender"),
            "race": look_up(admission, self.admissions, key="hadm_id", value="race"),
            "insurance": look_up(admission, self.admissions, key="hadm_id", value="insurance"),
            # To one width: numbers then compare as text.
            "note_seq": pc.utf8_lpad(pc.fill_null(notes["note_seq"], "0"), 6, "0"),
            **as_columns(cut),
        }
        return pa.table({name: columns[name] for name in ROWS_SCHEMA.names}).cast(ROWS_SCHEMA)

    def _ages(self, admission: Any, patient: Any) -> list[str | None]:
        """Age at admission of each note, in years as text; null where it is unknown."""
        anchor = {
            name: look_up(patient, self.patients, key="subject_id", value=name).to_pylist()
            for name in ("anchor_age", "anchor_year")
            if name in self.patients.column_names
        }
        times = [None] * len(anchor["anchor_age"])
        if "admittime" in self.admissions.column_names:
            times = look_up(
                admission, self.admissions, key="hadm_id", value="admittime"
            ).to_pylist()
        years = anchor.get("anchor_year", [None] * len(times))
        return [
            age_at(time, age=age, year=year)
            for time, age, year in zip(times, anchor["anchor_age"], years, strict=True)
        ]


@dataclass(frozen=True)
class CutNote:
    """One text, cut."""

    text: str
    """Empty where there is a reason."""
    reason: str
    kind: str = NOT_LOOKED_AT
    num_unknown: int = 0
    passages: list[dict[str, object]] = field(default_factory=list)


def cut_note(note_id: str, text: str, reason: str) -> CutNote:
    """Cut one summary, unless there is a reason to leave it out already."""
    if reason or not text.strip():
        return CutNote("", reason or "empty_text")
    cut = cut_summary(text)
    is_kept = has_core(cut.sections)
    return CutNote(
        text=render_note(cut.sections) if is_kept else "",
        reason="" if is_kept else "no_core_section",
        kind=kind_of(text, cut),
        num_unknown=cut.num_unknown,
        passages=sample_passages(note_id, cut),
    )


def as_columns(cut: list[CutNote]) -> dict[str, pa.Array]:
    """Columns of `ROWS_SCHEMA` that cutting gives."""
    return {
        "text": pa.array([note.text for note in cut], pa.string()),
        "reason": pa.array([note.reason for note in cut], pa.string()),
        "kind": pa.array([note.kind for note in cut], pa.string()),
        "num_unknown": pa.array([note.num_unknown for note in cut], pa.int64()),
        "passages": pa.array([note.passages for note in cut], pa.list_(PASSAGE)),
    }


def _reasons(kinds: Any, admission: Any, code: Any, *, billable: pa.Array) -> list[str]:
    """First reason of each note to leave it out, empty where none is known yet."""
    is_listed = pc.is_in(code, billable).to_pylist()
    return [
        "addendum"
        if kind and kind != "DS"
        else "no_admission_id"
        if not hadm_id
        else "no_icd10_principal"
        if principal is None
        else ""
        if is_billable
        else "unknown_code"
        for kind, hadm_id, principal, is_billable in zip(
            kinds.to_pylist(), admission.to_pylist(), code.to_pylist(), is_listed, strict=True
        )
    ]


def principal_diagnoses(table: pa.Table, path: Path) -> pa.Table:
    """hadm_id → canonical code of the principal ICD-10 diagnosis."""
    named = table.filter(pc.is_valid(table["icd_code"]))
    code = [codes.normalise(text) for text in named["icd_code"].to_pylist()]
    rule = "a principal diagnosis must be an ICD-10-CM code where icd_version is 10"
    check_known(code, path, rule=rule, way_out="Correct icd_code or icd_version.")
    return pa.table({"hadm_id": named["hadm_id"], "icd_code": pa.array(code, pa.string())})


def check_known(named: Sequence[str], path: Path, *, rule: str, way_out: str) -> None:
    """Raise DataError where more than `_MAX_UNKNOWN_CODES` of the codes are in no release."""
    wrong = sum(not codes.exists(code) for code in named)
    if wrong > _MAX_UNKNOWN_CODES * len(named):
        raise DataError(
            f"{rule}; of {len(named)} in {path} {wrong} are in no release from "
            f"FY{codes.RELEASES[0]} to FY{codes.RELEASES[-1]}. {way_out}"
        )


def look_up(keys: Any, table: pa.Table, *, key: str, value: str) -> Any:
    """Value of each key, null where the table does not hold it."""
    # A key that is not there has a null index, and taking null gives null.
    return pc.take(table[value], pc.index_in(keys, table[key]))


def age_at(time: str | None, *, age: str | None, year: str | None) -> str | None:
    """`anchor_age` + year of the admission − `anchor_year`; `anchor_age` where a year is unknown.

    MIMIC-IV gives a patient's age in one anchor year; an admission may be years before or after.
    """
    then = (time or "")[:4]
    if age is None or not (
        AGE.fullmatch(age) and YEAR.fullmatch(then) and YEAR.fullmatch(year or "")
    ):
        return age
    return str(max(0, int(age) + int(then) - int(year or 0)))


def age_band(years: str | None) -> str | None:
    """Decade of an age in years, the oldest together; null where it is unknown."""
    if years is None or not re.fullmatch(r"\d{1,4}", years, re.ASCII):
        return None
    # Everybody under 20 is in the first band; MIMIC-IV has no patient under 18.
    decade = min(max(int(years), 10), 89) // 10 * 10
    return "80+" if decade >= 80 else f"{decade}-{decade + 9}"
