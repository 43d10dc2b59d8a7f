"""A row becomes a cut note: ids, reasons, and the two ways that texts are taken."""

import pyarrow as pa
import pytest
from table_notes import summary

from deepicd.notes.table.blocks import BLOCK
from deepicd.notes.table.cutting import RowCutter, derive_ids, has_late_header, keep_note

ADMISSION_NOTE = """HPI:   chest pain since

yesterday, worse on exertion.
Labs in the ED: troponin 0.8
Assessment and Plan: rule out MI, admit to the floor
"""


def block(*rows: dict[str, str]) -> pa.Table:
    whole = {"note": summary(1), "patient": "1", "admission": "2", "code": "I10"}
    return pa.Table.from_pylist([{**whole, **row} for row in rows], schema=BLOCK)


def test_a_summary_is_cut_by_the_grammar_and_an_admission_note_stays_as_it_is() -> None:
    (note,) = RowCutter("cut", has_ids=False).to_rows(block({})).to_pylist()
    assert note["text"].startswith("CHIEF COMPLAINT: pain number 1, for 1 days\nPRESENT ILLNESS:")
    assert "LATE" not in note["text"] and note["reason"] == ""
    (kept,) = RowCutter("keep", has_ids=False).to_rows(block({"note": ADMISSION_NOTE})).to_pylist()
    assert kept["text"].splitlines()[:2] == [
        "HPI:   chest pain since",
        "yesterday, worse on exertion.",
    ]
    assert kept["text"].endswith("admit to the floor") and kept["reason"] == ""


@pytest.mark.parametrize(
    "late",
    [
        "Hospital Course:\ntreated for a lobar pneumonia",
        "Discharge Medications:\n1. aspirin",
        "DISCHARGE EXAM:\nclear lungs",
        "Death exam: pupils fixed",
    ],
)
def test_an_admission_note_with_a_section_of_the_stay_is_left_out(late: str) -> None:
    text = f"{ADMISSION_NOTE}PMH: gout\n{late}\n"
    note = keep_note("n", text, "")
    assert (note.reason, note.text) == ("late_section", "")
    assert has_late_header(text) and not has_late_header(ADMISSION_NOTE)


def test_a_note_is_left_out_for_the_first_reason() -> None:
    rows = [
        {"admission": None},
        {"code": None},
        {"code": "I10.99"},
        {"note": " \n"},
        {"note": "Some words without a header."},
        {"reason": "other_document", "admission": None},
    ]
    cut = RowCutter("cut", has_ids=False).to_rows(block(*rows))
    assert cut["reason"].to_pylist() == [
        *("no_admission_id", "no_icd10_principal", "unknown_code", "empty_text"),
        *("no_core_section", "other_document"),
    ]
    assert set(cut["text"].to_pylist()) == {""}


@pytest.mark.parametrize("code", ["I21.4", "I214", " i21.4", "i214 "])
def test_a_code_may_have_a_dot_or_none(code: str) -> None:
    (row,) = RowCutter("cut", has_ids=False).to_rows(block({"code": code})).to_pylist()
    assert (row["code"], row["reason"]) == ("I214", "")


def test_derived_ids_tell_rows_apart_by_any_value_and_equal_rows_not() -> None:
    ids = derive_ids(block({}, {}, {"code": "J189"}, {"sex": "F"}, {"note": "other"}))
    assert ids[0] == ids[1] and len(set(ids)) == 4
    assert derive_ids(block({"sex": "F"}))[0] == ids[3]


def test_groups_of_patients_are_taken_over() -> None:
    row = {"sex": "F", "race": "WHITE", "insurance": "Medicare", "age": "67"}
    (note,) = RowCutter("cut", has_ids=False).to_rows(block(row)).to_pylist()
    assert {name: note[name] for name in ("sex", "race", "insurance", "age_band")} == {
        **{name: row[name] for name in ("sex", "race", "insurance")},
        "age_band": "60-69",
    }
