"""The sections of a discharge summary that an admission note keeps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd.notes.mimic.sections import (
    CORE_SECTIONS,
    SECTIONS,
    cut_sections,
    has_core,
    render_note,
)

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
