"""Beneath an exam a caption that tells what was done in the stay ends the exam."""

import pytest

from deepicd.notes.mimic.sections import Cut, cut_summary

EXAM = """Chief Complaint:
chest pain

Physical Exam:
General: comfortable
{line}
"""


def cut(line: str) -> Cut:
    return cut_summary(EXAM.format(line=line))


@pytest.mark.parametrize(
    "line",
    [
        "Zorble: he was transfused 3 units.",
        "Quux Therapy: was given amiodarone 150 mg.",
        "What We Zorbled: started on heparin.",
        "Zorble: PICC on HD 5.",
    ],
)
def test_unknown_words_in_front_of_a_treatment_end_the_exam_and_are_counted(line: str) -> None:
    summary = cut(line)
    assert summary.sections["PHYSICAL EXAM"] == "General: comfortable"
    assert summary.num_unknown == int("What" not in line)


def test_a_day_of_the_stay_ends_the_exam_behind_a_part_of_the_body_too() -> None:
    wound = "Wound: dehisced on POD 4 and was packed."
    assert cut(wound).sections["PHYSICAL EXAM"] == "General: comfortable"


@pytest.mark.parametrize(
    "line",
    [
        "Neuro: was given lorazepam, sedated",
        "Zorble: soft, not tender",
        "Initial Zorble: was given saline, then warm",
        "Wound: clean, HD catheter in place",
        "Wound: HD 1, clean",
    ],
)
def test_findings_of_the_exam_stay_in_it(line: str) -> None:
    assert cut(line).sections["PHYSICAL EXAM"] == f"General: comfortable {line}"


def test_a_title_of_unknown_words_behind_a_blank_line_ends_the_exam() -> None:
    assert "sepsis" not in cut("\nZorble Quuxes: sepsis").sections["PHYSICAL EXAM"]
    assert "sepsis" in cut("Zorble Quuxes: sepsis").sections["PHYSICAL EXAM"]
    assert "midline" in cut("\nZorble: midline").sections["PHYSICAL EXAM"]
