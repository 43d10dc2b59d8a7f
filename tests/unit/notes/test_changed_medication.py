"""Medication that the stay changed: it opens no list of the admission, and it ends one."""

# ruff: noqa: E501  # lists of spellings read better unbroken

import pytest

from deepicd.notes.mimic.sections import cut_sections, render_note
from deepicd.sections import split_sections

BEFORE = "Chief Complaint:\nfall\n\nHPI:\nslipped on ice\n\nPMH:\nHTN\n\n"
COURSE = "Physical Exam:\nclear\n\nBrief Hospital Course:\nbetter\n\n"
LIST = "Medications on Admission:\naspirin\n"
CHANGED = """New home medications:|Home medications continued|Continued home meds|New home meds
Outpatient medications (new)|Home Medications: changes|CHANGES TO HOME MEDICATIONS:|HOME MEDS HELD:
HELD HOME MEDS:|HOME MEDS RESUMED:|TAKE HOME MEDS:|Med changes:|Changed meds|Meds started|Meds stopped
Meds held:|STOP taking these medications|START taking:|CHANGE how you take these medications
CONTINUE taking|Continue these medications|Meds to continue|Take-home medications|Home going medications:
MEDS STARTED IN HOSPITAL:|Medications started:|Medication changes|Discharge med rec""".replace(
    "\n", "|"
)
ELSEWHERE = ("Medications at rehab", "Meds given in ED", "Pre-op meds")


@pytest.mark.parametrize("header", [*CHANGED.split("|"), *ELSEWHERE])
def test_behind_the_stay_only_medication_of_the_admission_is_read(header: str) -> None:
    note = render_note(cut_sections(f"{BEFORE}{COURSE}{header}\n1. SECRET warfarin\n"))
    assert note.endswith("PHYSICAL EXAM: clear")


@pytest.mark.parametrize("header", CHANGED.split("|"))
@pytest.mark.parametrize("between", ["", "\n"])
@pytest.mark.parametrize("course", ["", COURSE])
def test_changed_medication_ends_the_list_of_the_admission(
    header: str, between: str, course: str
) -> None:
    text = f"{BEFORE}{course}{LIST}{between}{header}\n1. SECRET warfarin\n"
    assert cut_sections(text)["MEDICATION ON ADMISSION"] == "aspirin"
    assert "SECRET" not in render_note(cut_sections(text))
    pieces = [piece.text for piece in split_sections(text) if piece.section]
    assert not any("SECRET" in piece for piece in pieces)


@pytest.mark.parametrize(
    "line",
    [
        "New patch: nicotine",
        "Coumadin - held",
        "Medications on Admission (continued):",
        "PRN meds:",
        "Stopped warfarin last week",
        "Cardiac meds:",
    ],
)
def test_a_list_of_the_admission_goes_on_behind_its_own_lines(line: str) -> None:
    text = f"{BEFORE}{LIST}{line}\nKEEP this\n\nPhysical Exam:\nclear\n"
    assert cut_sections(text)["MEDICATION ON ADMISSION"].endswith("KEEP this")


@pytest.mark.parametrize(
    "line",
    [
        "Patient stopped taking his meds.",
        "home meds were held",
        "New meds per his wife; none was missed.",
        "Meds held: warfarin",
    ],
)
def test_a_history_tells_of_changed_medication(line: str) -> None:
    got = cut_sections(f"CC:\nfall\n\nHPI:\nslipped.\n{line}\nKEEP this\n\nPMH:\nHTN\n")
    assert got["PRESENT ILLNESS"].endswith("KEEP this")


@pytest.mark.parametrize("header", [*ELSEWHERE, "Home medications:", "Current medications:"])
def test_before_the_stay_each_place_of_medication_is_read(header: str) -> None:
    got = cut_sections(f"{BEFORE}{header}\nKEEP this\n\nPhysical Exam:\nclear\n")
    assert got["MEDICATION ON ADMISSION"] == "KEEP this"
