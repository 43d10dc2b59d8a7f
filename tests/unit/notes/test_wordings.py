"""Wordings that give a note away: titles of gold codes, medication that the stay changed."""

# ruff: noqa: E501  # lists of spellings read better unbroken

import json
from pathlib import Path
from random import Random

import pytest
from composed_notes import KEPT, compose

from deepicd.notes.mimic.sections import cut_sections, render_note
from deepicd.notes.wordings import (
    gold_phrases,
    has_changed_medication,
    is_gold_named,
    written_codes,
)

CHANGED = """STOP taking: warfarin|aspirin 81 mg. STOP TAKING metoprolol|Please continue taking your aspirin|START taking these: apixaban
CHANGE how you take metoprolol|lisinopril 10 mg (NEW)|apixaban 5 mg [new]|apixaban 5 mg - NEW|NEW: apixaban 5 mg|2. NEW apixaban 5 mg
New: apixaban|New medications: apixaban|CHANGED: metoprolol 50 mg|metoprolol 50 mg (changed)|Changed: metoprolol|metoprolol (dose increased)
apixaban, started during admission|apixaban was started during this hospitalization|heparin begun in the hospital|lasix was held during your stay
Lisinopril stopped while inpatient|amlodipine added this admission|warfarin discontinued at discharge|prednisone taper on discharge
the following medications were changed|your medications were changed|We started you on apixaban|You were started on apixaban
newly prescribed apixaban|newly started apixaban|Medication changes: none|Medications stopped: aspirin|Changed medications: aspirin
1. Aspirin 81 mg PO DAILY RX *aspirin 81 mg 1 tablet(s) by mouth daily Disp #*30 Tablet Refills:*0|Oxycodone 5 mg Disp:*20 Tablet(s)* Refills:*0*
STOPPED lisinopril|insulin dose changed during hospital stay|resumed upon discharge""".replace(
    "\n", "|"
)
TRUE = """aspirin 81 mg daily, metoprolol 25 mg BID|none|The Preadmission Medication list is accurate and complete. 1. Aspirin 81 mg PO DAILY
Lasix 40 mg daily (recently increased from 20 mg by PCP)|Coumadin (held since ___)|Coumadin - held|lisinopril, stopped last week
prednisone, started during her last hospitalization|apixaban started during prior admission|vancomycin, started during hospitalization at another hospital
metoprolol 25 mg, increased two weeks ago|took her home meds this morning|Tylenol PRN|nicotine patch, new last month|New York formula vitamin
warfarin held prior to admission|aspirin, last taken on the day of admission|amoxicillin started on the day before admission
albuterol inhaler as needed|insulin sliding scale|stopped taking lisinopril 2 weeks ago|she stopped taking all pills|Medications on hold: none
ASPIRIN 81 MG PO DAILY, NEW YORK BRAND VITAMIN|calcium 500 mg, renewed|keeps taking ibuprofen for pain|per OMR: aspirin, atorvastatin
unchanged from last visit|patient unable to state meds|dose changed 2 weeks ago by cardiologist""".replace(
    "\n", "|"
)


@pytest.mark.parametrize("said", CHANGED.split("|"))
def test_medication_that_the_stay_changed_is_seen_without_the_grammar(said: str) -> None:
    text = f"CHIEF COMPLAINT: fall\nMEDICATION ON ADMISSION: aspirin 81 mg daily. {said}"
    assert has_changed_medication(f"{text}\nALLERGIES: none")


@pytest.mark.parametrize("said", TRUE.split("|"))
def test_medication_of_the_admission_is_no_change(said: str) -> None:
    assert not has_changed_medication(f"MEDICATION ON ADMISSION: {said}\nALLERGIES: none")


@pytest.mark.parametrize("section", [name for name in KEPT if name != "MEDICATION ON ADMISSION"])
def test_only_the_medication_is_looked_at(section: str) -> None:
    assert not has_changed_medication(f"{section}: You were started on apixaban (NEW)")


def test_medication_of_invented_summaries_is_no_change(root: Path) -> None:
    folder = root / "tests" / "unit" / "notes" / "data"
    names = ("ten_summaries.json", "twenty_summaries.json")
    texts = [row["text"] for name in names for row in json.loads((folder / name).read_text())]
    rng = Random(3)
    texts += [compose(rng).text for _ in range(300)]
    notes = [render_note(cut_sections(text)) for text in texts]
    assert sum("MEDICATION ON ADMISSION: " in note for note in notes) > 150
    assert not any(map(has_changed_medication, notes))


# ---- gold codes


def test_titles_of_successors_and_short_forms_give_a_code_away() -> None:
    assert gold_phrases("J189") == ("pneumonia, unspecified organism", "pneumonia")
    assert "longstanding persistent atrial fibrillation" in gold_phrases("I481")
    assert "fracture of neck of right femur" in gold_phrases("S72001A")


def test_a_phrase_counts_as_whole_words_only() -> None:
    assert is_gold_named("has (sepsis).", ("sepsis",))
    assert not is_gold_named("urosepsis, sepsislike", ("sepsis",))


def test_a_code_is_looked_for_as_a_text_writes_it() -> None:
    assert (written_codes("I2510"), written_codes("C20")) == (("i25.10",), ())
