"""Texts that are no English discharge summaries: told apart, counted, refused where most are."""

from pathlib import Path
from random import Random

import pytest
from composed_notes import compose

from deepicd.errors import DataError
from deepicd.notes.mimic.kinds import check_kinds, count_kinds, kind_of
from deepicd.notes.mimic.sections import cut_summary

SAID = "der Patient kam mit Schmerzen in der Brust und Atemnot, die seit drei Tagen bestanden. "
RADIOLOGY = """EXAMINATION:  CHEST (PA AND LAT)

INDICATION:  ___ year old woman with cough // pneumonia?

HISTORY:  cough for three days

TECHNIQUE:  Chest PA and lateral

COMPARISON:  ___

FINDINGS: the lungs are clear and there is no effusion.

IMPRESSION: no pneumonia.
"""
END = """Discharge Medications:
1. aspirin

Discharge Condition:
stable

Discharge Instructions:
you were admitted with pain and it went away
"""
OTHERS = {
    "German": ("not_english", f"Anamnese:\n{SAID * 5}\n\nEntlassungsdiagnose:\n{SAID}"),
    "German below English headers": ("not_english", f"CC:\nSchmerz\n\nHPI:\n{SAID * 5}"),
    "Spanish": ("not_english", "Motivo de ingreso: dolor. El paciente refiere tos. " * 9),
    "Chinese": ("not_english", "主诉：胸痛三天。现病史：患者三天前出现胸痛，伴有呼吸困难。" * 5),
    "Russian": ("not_english", "Жалобы: боль в груди. Анамнез: боли три дня. " * 5),
    "a radiology report": ("radiology_report", RADIOLOGY),
    "one whose headers are in small letters": ("radiology_report", RADIOLOGY.lower()),
    "the end of a summary": ("only_discharge_sections", END),
    "a course and an end": ("only_discharge_sections", f"Hospital Course:\nbetter\n\n{END}"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_another_kind_of_text_is_told_apart(name: str) -> None:
    kind, text = OTHERS[name]
    assert kind_of(text, cut_summary(text)) == kind


def test_a_summary_with_reports_of_imaging_in_it_is_a_summary() -> None:
    text = (
        f"Chief Complaint:\ncough\n\nHPI:\ncough for three days\n\nPMH:\nnone\n\n{RADIOLOGY}\n{END}"
    )
    assert kind_of(text, cut_summary(text)) == ""


def test_composed_and_telegraphic_summaries_are_english() -> None:
    texts = [compose(Random(seed)).text for seed in range(300)]
    assert {kind_of(text, cut_summary(text)) for text in texts} == {""}


def test_kinds_are_counted_with_their_share() -> None:
    kinds = ["", "", "not_english", ""]
    assert count_kinds(kinds) == {"not_english": {"count": 1, "share": 0.25}}
    check_kinds(kinds, Path("notes.csv"))
    check_kinds([], Path("notes.csv"))


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("not_english", "give the English notes, or translate them"),
        ("radiology_report", "not note/radiology"),
        ("only_discharge_sections", "give whole summaries"),
    ],
)
def test_a_table_that_is_mostly_of_another_kind_is_refused(kind: str, advice: str) -> None:
    with pytest.raises(DataError, match=rf"67% of 3 notes in notes.csv are .*{advice}"):
        check_kinds([kind, "", kind], Path("notes.csv"))
