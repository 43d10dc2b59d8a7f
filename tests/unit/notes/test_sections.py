"""Sections of a summary: shown cases, siblings of each kind, what others wrote, composed notes."""

# ruff: noqa: E501  # lists of spellings read better unbroken

import importlib.util
import json
import sys
from importlib.metadata import PackageNotFoundError, distribution
from itertools import count
from pathlib import Path, PurePosixPath
from random import Random
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepicd.notes.corpus import sampling
from deepicd.notes.corpus.mimic_tables import write_summaries
from deepicd.notes.corpus.profiles import load_knowledge
from deepicd.notes.mimic.sections import cut_sections, cut_summary, find_late, render_note

DATA = Path(__file__).parent / "data"
CASES = json.loads((DATA / "section_cases.json").read_text())
SUMMARIES = json.loads((DATA / "ten_summaries.json").read_text())
# Invented in MIMIC-IV's layouts: wards, older and other forms, traps; each lost a section once or
# was near to it.
MORE = json.loads((DATA / "twenty_summaries.json").read_text())
BEFORE = "Chief Complaint:\nfall\n\nHPI:\nslipped\n\nPhysical Exam:\nclear lungs"


def load_composer() -> ModuleType:
    path = Path(__file__).parents[2] / "composed_notes.py"
    spec = importlib.util.spec_from_file_location("composed_notes", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


composer = load_composer()


@pytest.mark.parametrize("case", [*CASES, *SUMMARIES, *MORE], ids=map(str, count()))
def test_shown_summaries_keep_what_they_must_and_nothing_of_the_stay(
    case: dict[str, list[str]],
) -> None:
    note = render_note(cut_sections(str(case["text"])))
    assert [word for word in case["must"] if word not in note] == []
    assert [word for word in case["mustnot"] if word in note] == []


LATE = """PHYSICAL EXAM (DISCHARGE):|Physical Exam – Discharge|Physical Exam, discharge:|DEATH EXAM
Exam at time of death|D/C PE|D.C. EXAM:|Day of Discharge Exam:|Exam (day of discharge)|[DISCHARGE EXAM]
【DISCHARGE EXAM】|** Discharge Exam **|### Discharge Physical Examination|__Discharge Exam__
• Discharge Exam:|- DISCHARGE EXAM|2) DISCHARGE PHYSICAL EXAM|IV. DISCHARGE EXAM|===DISCHARGE EXAM===
<b>Discharge Exam</b>|Discharge\u00a0Exam:|DISCHARGE\u2009EXAM|Discharge Exam：|Discharge\u200bExam:
\ufeffDischarge Exam:|ＤＩＳＣＨＡＲＧＥ ＥＸＡＭ|D I S C H A R G E   E X A M|DischargeExam:|DISCHARGE_EXAM:
At discharge VS 36.6|On discharge T 98.6|At the time of discharge:|MEDICATIONS ON DISCHARGE|D/C Meds:
Condition on Discharge: stable|Condition at discharge stable|Discharge Dx: x|Final Dx:
DISCHARGE EXAM VS 98.1|Discharge Exam ___|Discharge exam [Jan 5]:|TTE ___: EF|MICRO|LABS/STUDIES
CT HEAD W/O CONTRAST:|CXR ___:|Course in hospital:|POSTOP COURSE|A&P|Impression/Plan:|EXAM ON TRANSFER
Physical exam at time of transfer:|EXIT EXAM|Pre-discharge exam:|LAST EXAM|PRONOUNCEMENT:|DISPO: home
Discharged to: rehab|TRANSITIONAL ISSUES:|Wound check at discharge:|DISCHARGE MSE:|OUTCOME
Physical Exam: Discharge|PHYSICAL EXAM: (DISCHARGE)|discharge exam|at discharge:|DISCHARGE:|POD 3 exam:
Exam at the end of the stay:|Other Relevant Laboratory Data:|Wound Status When Leaving Hospital:
Admission/Discharge exam:|Follow up exam:|Repeat exam:|New medications:|Home medications on discharge:
Discharge exam showed|Exam unchanged at discharge|Dischage Exam:|DISCHARGE PHYISCAL EXAM:
Hospial Course:""".replace("\n", "|").split("|")


@pytest.mark.parametrize("header", LATE)
@pytest.mark.parametrize("between", ["\n", "\n\n", "\r\n"])
def test_an_exam_ends_at_every_later_header(header: str, between: str) -> None:
    note = render_note(cut_sections(f"{BEFORE}{between}{header}\nSECRET words\n"))
    assert "clear lungs" in note and "SECRET" not in note


HISTORY_LINES = """Labs were notable for:|discharge from the left ear|DISCHARGE FROM LEFT EAR FOR 3 DAYS
She was admitted to OSH, hospital course c/b: AKI|Discharge labs were good: Cr 1.0|Since discharge: worse
Prior hospital course: prolonged intubation|Hospital course at OSH: got fluids|Last discharge weight: 70
ED course: fluids|VS on transfer: 98.6|Labor course to arrival: membranes intact|Prenatal labs, by report:
Transplant history: kidney|Diagnosis: AML|Treatment: four cycles|Discharge: yellow|Nipple discharge: no
per discharge summary from OSH: had CHF|Outside hospital labs: WBC 12|EKG with NSR|Results of biopsy pending
Unlabored:|Admitted to ICU: yes|Assessment by PCP was viral illness|Hospitalizations: one
s/p discharge from MICU, labs: Na 130|After discharge: she noted swelling
His last hospital course was complicated by delirium""".replace("\n", "|").split("|")


@pytest.mark.parametrize("line", HISTORY_LINES)
def test_sentences_and_captions_of_a_history_end_nothing(line: str) -> None:
    text = f"CC:\nfall\n\nHPI:\nThree days ago.\n{line}\nKEEP this\n\nPMH:\nHTN\n\nExam:\nclear\n"
    got = cut_sections(text)
    assert "KEEP this" in got["PRESENT ILLNESS"]
    assert (got["MEDICAL HISTORY"], got["PHYSICAL EXAM"]) == ("HTN", "clear")


EXAM_LINES = """Discharge: none on speculum|HEENT: no discharge|Nasal discharge: clear|Breathing, unlabored:
LABOR: contractions|General condition: good|Neuro exam: nonfocal|Mental Status Exam:|Vitals: 98.6
NEURO:|the discharge was clear|Rectal: guaiac neg""".replace("\n", "|").split("|")


@pytest.mark.parametrize("line", EXAM_LINES)
def test_captions_of_an_exam_and_a_body_s_discharge_end_nothing(line: str) -> None:
    got = cut_sections(f"{BEFORE}\n{line}\nKEEP this\n\nPertinent Results:\nSECRET\n")
    assert got["PHYSICAL EXAM"].endswith("KEEP this")


LAYOUTS = [
    "Service: SURGERY Allergies: KEEP1 Attending: x CC: KEEP2 HPI: KEEP3 Discharge Exam: SECRET",
    "CHIEF COMPLAINT KEEP1 pain HISTORY OF PRESENT ILLNESS KEEP2 DISCHARGE DIAGNOSIS SECRET",
    "Chief Complaint - KEEP1\nHPI - KEEP2\nLabs - SECRET\nDischarge Dx - SECRET",
    "CC: KEEP1; HPI: KEEP2; PMH: KEEP3; Labs: SECRET; Discharge diagnosis: SECRET",
    "HPI: KEEP1 | PE: KEEP2 | Discharge PE: SECRET",
    "**HPI:** KEEP1\n\n**Exam:** KEEP2\n\n**Discharge Exam:** SECRET",
    "DISCHARGE DIAGNOSIS: SECRET\nHPI: KEEP1\nEXAMINATION: KEEP2\nHOSPITAL COURSE: SECRET",
    "Presenting complaint\nKEEP1\nPMHx\nKEEP2\nDHx\nKEEP3\nO/E\nKEEP4\nIx\nSECRET\nImp\nSECRET",
    "HPI:\nKEEP1\n\nExam:\nKEEP2\n\nDISCHARGE EXAM\nSECRET\n\nPMH:\nKEEP3\n",
    "HPI:\nKEEP1\nPhysical Exam:\nDischarge exam:\nSECRET\nAdmission exam:\nKEEP2\n",
    "HPI:\rKEEP1\r\rPE\rKEEP2\r\rDISCHARGE PE\rSECRET",
    "HPI:\\nKEEP1\\n\\nPE:\\nKEEP2\\n\\nDISCHARGE PE:\\nSECRET",
    "<p><b>HPI:</b> KEEP1</p><p><b>Discharge Exam:</b> SECRET</p>",
    "HPI:\nKEEP1\n\nPhysical Exam:\nAdmission: KEEP2\nDischarge: SECRET",
    "HPI:\nKEEP1\n\nPhysical Exam:\nKEEP2 lungs clear. On discharge: SECRET",
    "HPI:\nKEEP1\n\nPhysical Exam:\nKEEP2 lungs clear, discharge exam: SECRET",
    "HPI:\nKEEP1\nLabs: SECRET\nOn arrival to the floor KEEP2",
]


@pytest.mark.parametrize("text", LAYOUTS)
def test_layouts_of_other_hospitals_are_read(text: str) -> None:
    note = render_note(cut_sections(text))
    assert [f"KEEP{n}" for n in range(1, 9) if f"KEEP{n}" in text and f"KEEP{n}" not in note] == []
    assert "SECRET" not in note


def test_a_header_with_unknown_words_is_counted_and_kept_out_of_an_exam() -> None:
    cut = cut_summary(f"{BEFORE}\n\nQUUX ZORBLE:\nsecret words\n")
    assert (cut.num_unknown, "secret" in render_note(cut.sections)) == (1, False)
    history = cut_summary("HPI:\nfell\n\nQuux Zorble:\nand so on\n")
    assert (history.num_unknown, history.sections["PRESENT ILLNESS"][-5:]) == (1, "so on")


# ---- against rules that others wrote

MEDSPACY = "1.3.1"
"""The release whose rules `medspacy_differences.tsv` explains."""
KEPT = {
    "allergy": "ALLERGIES",
    "allergies": "ALLERGIES",
    "chief_complaint": "CHIEF COMPLAINT",
    "family_history": "FAMILY HISTORY",
    "history_of_present_illness": "PRESENT ILLNESS",
    "medications": "MEDICATION ON ADMISSION",
    "past_medical_history": "MEDICAL HISTORY",
    "problem_list": "MEDICAL HISTORY",
    "physical_exam": "PHYSICAL EXAM",
    "social_history": "SOCIAL HISTORY",
}


@pytest.fixture
def medspacy_rules() -> list[dict[str, str]]:
    """Read from the installed package without importing it, which would need spaCy."""
    try:
        package = distribution("medspacy")
    except PackageNotFoundError:
        pytest.skip("medspaCy is not installed here; `make setup` installs it from the lock")
    path = PurePosixPath("resources/en/section_patterns.json")
    file = next(file for file in package.files or () if file == path)
    assert package.version == MEDSPACY
    rules: list[dict[str, str]] = json.loads(file.read_text(encoding="utf-8"))["section_rules"]
    return rules


def test_every_difference_to_medspacys_rules_is_listed_with_its_reason(
    medspacy_rules: list[dict[str, str]],
) -> None:
    """Its 140 rules (MIT): each header behind an open exam, and where its text is."""
    listed = [
        line.split("\t") for line in (DATA / "medspacy_differences.tsv").read_text().splitlines()
    ]
    found = []
    assert len(medspacy_rules) == 140
    for rule in medspacy_rules:
        header, category = rule["literal"], rule["category"]
        got = cut_sections(f"CC:\nfall\n\nPhysical Exam:\nclear\n\n{header}\nsaid words\n")
        ours = next((name for name, text in got.items() if "said" in text), "END")
        if ours != KEPT.get(category, "END"):
            found.append([header, category, ours])
    assert found == [line[:3] for line in listed[1:]]
    assert all(len(line[3]) > 10 for line in listed[1:])


# ---- composed notes


@settings(max_examples=300)
@given(st.integers(0, 2**32))
def test_a_composed_note_gives_exactly_what_it_was_composed_of(seed: int) -> None:
    note = composer.compose(Random(seed))
    assert cut_sections(note.text) == note.wanted


@settings(max_examples=200)
@given(st.sampled_from(LATE), st.text(" \u00a0\t*#=-•▪_", max_size=4), st.booleans())
def test_marks_around_a_later_header_change_nothing(
    header: str, marks: str, is_upper: bool
) -> None:
    shown = f"{marks} {header.upper() if is_upper else header}"
    assert "SECRET" not in render_note(cut_sections(f"{BEFORE}\n{shown}\nSECRET\n"))


@pytest.mark.parametrize("history", ["PMH", "HPI", "Social History", "Family History"])
@pytest.mark.parametrize(
    "header",
    [
        "Patient Instructions",
        "**Instructions**",
        "Instructions to the patient",
        "Patient education",
    ],
)
def test_what_a_patient_is_told_at_the_end_ends_a_history(history, header):
    text = (
        f"HPI: fell\n{history}: kept, with a course c/b: delirium\n{header}: SECRET take it easy\n"
    )
    assert "SECRET" not in render_note(cut_sections(text))


def test_diet_and_education_stay_captions_of_a_history():
    text = "HPI: fell\nSocial History: lives alone\nEducation: college\nDiet: vegetarian\n"
    assert cut_sections(text)["SOCIAL HISTORY"].endswith("Education: college Diet: vegetarian")


# ---- the embedded corpus


@pytest.fixture(scope="module")
def summaries() -> list[str]:
    knowledge = load_knowledge()
    drawn = sampling.sample_admissions(sampling.build_model(knowledge), 400, seed=5)
    worded = write_summaries(knowledge, drawn, splits=["train", "test"] * 200, seed=5)
    return [one.text for one in worded]


HEADERS = {
    "Chief Complaint": ("CC", "PRESENTING COMPLAINT", "**Chief complaint**", "1. Chief Complaint"),
    "History of Present Illness": ("HPI", "Hx of Present Illness", "[HPI]", "HPI per ED"),
    "Past Medical History": ("PMH", "Past Med Hx", "PMH and PSH", "• Past Medical History"),
    "Family History": ("FHx", "FAMILY HX", "Family history"),
    "Medications on Admission": ("Home meds", "PTA Medications", "MEDS ON ADMISSION"),
    "Pertinent Results": ("LABS/STUDIES", "Labs", "[Pertinent results]", "Laboratory Data"),
    "Brief Hospital Course": ("HOSPITAL COURSE", "Course in hospital", "## Hospital Course"),
    "Discharge Medications": ("MEDICATIONS ON DISCHARGE", "D/C meds", "- Discharge Meds"),
    "Discharge Diagnosis": ("Discharge Dx", "Diagnoses at discharge", "FINAL DIAGNOSIS"),
    "Discharge Condition": ("Condition on Discharge", "CONDITION AT DISCHARGE"),
    "DISCHARGE EXAM": ("PHYSICAL EXAM (DISCHARGE)", "D/C exam", "Exam on discharge"),
}


@pytest.mark.parametrize("header", HEADERS)
def test_another_spelling_of_a_header_of_the_corpus_gives_the_same_note(
    summaries: list[str], header: str
) -> None:
    for other in HEADERS[header]:
        for text in summaries[:60]:
            changed = text.replace(f"{header}:", f"{other}:")
            assert cut_sections(changed) == cut_sections(text)


def test_no_rendered_note_of_the_corpus_holds_a_header_of_the_stay(summaries: list[str]) -> None:
    for text in summaries:
        assert not [name for name, said in cut_sections(text).items() if find_late(name, said)]


@pytest.mark.parametrize(
    ("section", "text", "is_found"),
    [
        ("PHYSICAL EXAM", "clear lungs PHYSICAL EXAM (DISCHARGE): SECRET", True),
        ("PHYSICAL EXAM", "clear lungs D/C PHYSICAL EXAM SECRET words", True),
        ("PHYSICAL EXAM", "clear lungs At discharge VS 36.6 SECRET", True),
        ("PHYSICAL EXAM", "clear lungs MICRO SECRET words", True),
        ("PHYSICAL EXAM", "clear lungs DEATH EXAM SECRET", True),
        ("PHYSICAL EXAM", "clear lungs Condition on Discharge: stable", True),
        ("PRESENT ILLNESS", "a former stay, hospital course c/b: delirium", False),
        ("PRESENT ILLNESS", "came back, discharge labs were good: 4", False),
        ("PRESENT ILLNESS", "came in. Hospital Course: treated", True),
    ],
)
def test_a_rendered_section_is_looked_through_by_the_same_grammar(
    section: str, text: str, is_found: bool
) -> None:
    assert (find_late(section, text) is not None) == is_found
