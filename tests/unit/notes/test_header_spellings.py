"""Spellings of headers that no list named before they were tried, by the kind of fault they stand for."""

# ruff: noqa: E501  # lists of spellings read better unbroken

import pytest

from deepicd.notes.mimic.sections import cut_sections, render_note

BEFORE = "Chief Complaint:\nfall\n\nHPI:\nslipped\n\nPhysical Exam:\nclear lungs"


def names(text: str) -> list[str]:
    return [name for line in text.splitlines() for name in line.split("|")]


LATE = names("""Dsch Exam:|D/C'd exam:|Last recorded exam:|Dis-charge exam:|DISCHARGEPHYSICALEXAM:|Exam today:
TODAY'S EXAM:|Hospital course is as follows:|Narrative:|Blood cx:|UCx:|To do:|~~DISCHARGE EXAM~~
{Discharge Exam}|<<Discharge exam>>|Exam upon d/c|POD#2 exam:|Discharge VS/PE|Meds @ discharge:
\u2794 DISCHARGE EXAM|iii) Discharge exam:|DISCHARGE EXAM\u2026\u2026|DISCHARGE EXAM =>|DISCHARGE\u00adEXAM
Followup appts|Discharge planning|Assmt/Plan|Discharge MS|PRONOUNCED DEAD|dischrage exam|Discharge.exam
Physical Exam on the day of her discharge""")
QUALIFIED = names("""Physical exam (final):|Physical Exam [discharge]:|PHYSICAL EXAM {DISCHARGE}:
Physical Exam / Discharge:|Physical Exam -- on discharge --:|Physical Exam _Discharge_|Exam \u00a6 Discharge
Physical exam... discharge:|PHYSICAL EXAM <DISCHARGE>:|Physical Exam (post-op day 2):|Physical Exam(discharge):
Physical Exam (Discharge|Physical Exam (at death):|Exam (discharge day, per team):|Medications [at discharge]:""")
TITLES = names("""DISCHARGE SUMMARY NOTE|DISCHARGE SUMMARY (FINAL)|Discharge Summary - General Medicine
INPATIENT DISCHARGE SUMMARY REPORT|Physician Discharge Summary|*** DISCHARGE SUMMARY ***|DEATH SUMMARY
Document type: Discharge Summary|Discharge Service: MEDICINE|Discharge Attending: ___|Discharge to: home""")
CAPTIONS = names("""Surgery: CABG|Complications: retinopathy|Diagnosis: CLL|Therapy: lithium|Pathology: benign
Vaginal discharge: none|Discharge: - fever, - cough|Last discharge: ___|Coursework: online|Telephoned: twice
Diagnosed with: AML|Hospital visits: many|Planned for: rest|Labs showed:|Procedural sedation was: fine""")
KEPT = {
    "CHIEF COMPLAINT": "Chief Compl:|CHIEF C/O:|Presenting Sx:|Reason for admit:|Admit reason:|Main problem:"
    "|Reason for ED visit:|Reason for Hospital Admission:|Chief Complaint (CC):",
    "PRESENT ILLNESS": "History of Pres. Illness:|ID/CC/HPI:|History Of Presenting Symptoms:|Narrative HPI:"
    "|CC & HPI:|HISTORY OF PRESNT ILLNESS|HPI (per ___):",
    "MEDICAL HISTORY": "PMHx/PSHx:|Past Med/Surg Hx:|PMH (per OMR):|Past Medical Histroy:|Past Hx:",
    "MEDICATION ON ADMISSION": "Outpt meds:|Medications as outpatient:|Prescription meds at home:|Meds (home):"
    "|Home medications (confirmed with pharmacy):",
    "ALLERGIES": "Allergies & Intolerances:|ADRs:|Allergies (reviewed):|ALLERGIES AND SENSITIVITIES:",
    "PHYSICAL EXAM": "Physical Exam in ICU on admission:|Exam upon arrival to floor:|ICU admission exam:"
    "|Phyiscal Exam:|P/E:|Exam (admit):",
    "FAMILY HISTORY": "Family Health History:|F/H:|Hx, family:|Fam. Hx.:",
    "SOCIAL HISTORY": "S/H:|Soc. Hx.:|Social/Occupational History:",
}


@pytest.mark.parametrize("header", [*LATE, *QUALIFIED])
@pytest.mark.parametrize("between", ["\n", "\n\n"])
def test_a_later_header_ends_the_exam_of_the_admission(header: str, between: str) -> None:
    note = render_note(cut_sections(f"{BEFORE}{between}{header}\nSECRET words\n"))
    assert note.endswith("PHYSICAL EXAM: clear lungs")


@pytest.mark.parametrize("header", QUALIFIED)
def test_a_qualified_header_opens_no_exam(header: str) -> None:
    text = f"Chief Complaint:\nfall\n\nHPI:\nslipped\n\n{header}\nSECRET words\n"
    assert "SECRET" not in render_note(cut_sections(text))


@pytest.mark.parametrize("title", TITLES)
def test_the_name_of_the_paper_begins_no_stay(title: str) -> None:
    note = render_note(cut_sections(f"{title}\n\nHPI:\nKEEP1\n\nPMH:\nKEEP2\n\nExam:\nKEEP3\n"))
    assert all(word in note for word in ("KEEP1", "KEEP2", "KEEP3"))


@pytest.mark.parametrize("line", CAPTIONS)
def test_a_caption_or_sentence_of_a_history_ends_nothing(line: str) -> None:
    text = f"CC:\nfall\n\nHPI:\nThree days ago.\n{line}\nKEEP this\n\nPMH:\nHTN\n{line}\nKEEP that\n\nExam:\nclear\n"
    got = cut_sections(text)
    assert got["PRESENT ILLNESS"].endswith("KEEP this")
    assert (got["MEDICAL HISTORY"][-9:], got["PHYSICAL EXAM"]) == ("KEEP that", "clear")


@pytest.mark.parametrize(
    ("section", "header"), [(section, name) for section in KEPT for name in names(KEPT[section])]
)
@pytest.mark.parametrize("before", ["CC:\nfall", "CC:\nfall\n\nSocial History:\nlives alone"])
def test_a_header_opens_the_section_that_it_means(section: str, header: str, before: str) -> None:
    got = cut_sections(f"{before}\n\n{header}\nKEEP this text\n\nPertinent Results:\nSECRET\n")
    assert got[section].endswith("KEEP this text") and "SECRET" not in render_note(got)


@pytest.mark.parametrize("said", ["seen at an outside hospital;", "seen at OSH; then came"])
def test_what_a_source_says_is_text_behind_the_sign(said: str) -> None:
    assert cut_sections(f"HPI per ED - {said}\nPMH: HTN\n")["PRESENT ILLNESS"] == said
    assert cut_sections("HPI - per Dr Smith\nfell\n")["PRESENT ILLNESS"] == "fell"


def test_a_time_behind_a_second_sign_is_of_the_header() -> None:
    assert cut_sections("HPI: fell\nPhysical Exam - Discharge - SECRET\n") == {
        "PRESENT ILLNESS": "fell"
    }
