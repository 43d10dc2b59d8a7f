"""Spellings that let the stay in, or lost a history, by the kind of fault they stand for."""

# ruff: noqa: E501  # lists of spellings read better unbroken

import pytest

from deepicd.notes.mimic.sections import cut_sections, render_note
from deepicd.sections import split_sections

BEFORE = "Chief Complaint:\nfall\n\nHistory of Present Illness:\nslipped on ice\n\nPast Medical History:\nHTN\n\n"
EXAM = "Physical Exam:\nclear\n"
LATER = """Current exam:|Exam currently|CMO exam:|Comfort care exam|Hospice exam:|PPD#2 exam|Re-exam|Later exam:|AM exam|Exam this AM:|Exam per discharge note|Discharge Antibiotics|Discharge checklist|Chronic issues:|Immunizations given:|Vaccines given:
WHAT HAPPENED WHILE YOU WERE HERE?|WHY WERE YOU ADMITTED TO THE HOSPITAL?|What happened while you were here?""".replace(
    "\n", "|"
)
BENEATH = "New meds:|Antibiotics:|INR:|Devices:|Communication:|CODE:|Reports:|RHC:|LHC:|LP:|# CHF exacerbation"
DEATHS = (
    "Pronounced dead at 5:10 SECRET",
    "Patient expired at 5:10 SECRET",
    "He passed away on 3/4 SECRET",
)
LIVED = """Discharge from wound: yes|Functional status: independent|Baseline status: walks|Home services: VNA|Events: fell at home|Progress: slow|Management: conservative|Instructions: call|Stay: 3 days in 2019|Case: 45F|Narrative: x"""
ITEMS = "Cardiac cath: 2010 clean|ECHO 2012: EF 40%|PFTs: FEV1 50%|Procedures: TAVR 2015|PCP: Dr. ___|Cytogenetics: normal|Condition: chronic|Dry weight: 80|Initial vitals: 98"


@pytest.mark.parametrize("header", LATER.split("|"))
def test_a_header_of_the_stay_ends_the_exam(header: str) -> None:
    note = render_note(cut_sections(f"{BEFORE}{EXAM}\n{header}\nSECRET\n"))
    assert note.endswith("PHYSICAL EXAM: clear")


@pytest.mark.parametrize("header", BENEATH.split("|"))
def test_a_line_of_the_stay_beneath_an_exam_ends_it(header: str) -> None:
    text = f"{BEFORE}{EXAM}{header}\nSECRET\n"
    assert render_note(cut_sections(text)).endswith("PHYSICAL EXAM: clear")
    assert not any("SECRET" in piece.text for piece in split_sections(text) if piece.section)


@pytest.mark.parametrize("line", DEATHS)
def test_a_death_told_beneath_an_exam_ends_it(line: str) -> None:
    assert render_note(cut_sections(f"{BEFORE}{EXAM}{line}\n")).endswith("PHYSICAL EXAM: clear")


def test_a_current_exam_is_one_of_the_admission_where_none_was_before() -> None:
    assert cut_sections(f"{BEFORE}Current exam:\nclear\n")["PHYSICAL EXAM"] == "clear"


@pytest.mark.parametrize(
    "line", ["# Lungs: clear", "Lines: PIV", "General: NAD", "Discharge from wound: yes"]
)
def test_captions_of_an_exam_end_nothing(line: str) -> None:
    assert cut_sections(f"{BEFORE}{EXAM}{line}\nKEEP\n")["PHYSICAL EXAM"].endswith("KEEP")


@pytest.mark.parametrize("sign", [" - ", ", ", " \u2013 ", "; "])
def test_headers_in_sentence_case_part_a_note_of_one_line(sign: str) -> None:
    parts = (
        "Chief complaint: fall",
        "History of present illness: slipped",
        "Past medical history: HTN",
        "Physical exam: clear",
        "Hospital course: SECRET",
        "Discharge diagnosis: SECRET2",
    )
    note = render_note(cut_sections(sign.join(parts)))
    assert "clear" in note and "SECRET" not in note


@pytest.mark.parametrize(
    "sign",
    [
        "Physical Exam \u2192 clear\nHospital Course \u2192 SECRET",
        "Physical Exam\u21d2 clear\nHospital course\u21d2 SECRET",
        "Physical Exam: clear\nHospital Co\u0301urse: SECRET",
        "Physical Exam: clear\nPl\u00e1n: SECRET",
        "Physical Exam: clear\nPla\u0301n: SECRET",
    ],
)
def test_arrows_and_accents_hide_no_header(sign: str) -> None:
    assert render_note(cut_sections(BEFORE + sign)).endswith("PHYSICAL EXAM: clear")


@pytest.mark.parametrize(
    "line", [*LIVED.split("|"), "Discharge summary from OSH reviewed.", "DISCHARGE SUMMARY OSH"]
)
def test_a_caption_of_an_illness_ends_nothing(line: str) -> None:
    got = cut_sections(
        f"CC:\nfall\n\nHistory of Present Illness:\n40F.\n{line}\nKEEP1\n\nPast Medical History:\nKEEP2\n\nPhysical Exam:\nKEEP3\n"
    )
    assert got["PRESENT ILLNESS"].endswith("KEEP1")
    assert (got["MEDICAL HISTORY"], got["PHYSICAL EXAM"]) == ("KEEP2", "KEEP3")


@pytest.mark.parametrize("line", [*LIVED.split("|"), *ITEMS.split("|")])
def test_an_item_of_a_medical_history_ends_nothing(line: str) -> None:
    got = cut_sections(
        f"CC:\nfall\n\nHPI:\nslipped\n\nPast Medical History:\nHTN\n{line}\nKEEP2\n\nPhysical Exam:\nKEEP3\n"
    )
    assert got["MEDICAL HISTORY"].endswith("KEEP2") and got["PHYSICAL EXAM"] == "KEEP3"


@pytest.mark.parametrize(
    "line",
    [
        "Hospital course: better",
        "Course: better",
        "Hospitalization: uneventful",
        "Labs: WBC 12",
        "Assessment: sepsis",
        "Plan: fluids",
        "Discharge condition: good",
        "Discharge status: home",
        "Imaging: clear",
        "Disposition: rehab",
        "Events: he was intubated on day two and given pressors",
    ],
)
@pytest.mark.parametrize("history", ["HPI", "PMH"])
def test_what_only_the_stay_has_ends_a_history(line: str, history: str) -> None:
    text = f"CC:\nfall\n\n{history}:\nslipped\n{line}\nSECRET\n"
    assert "SECRET" not in render_note(cut_sections(text))
