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
BENEATH = names("""Scheduled meds:|PRN meds:|Standing medications:|As needed medications:|IV medications:|Continuous infusions:
Drips:|Medications administered:|Cardiology:|Nephrology:|Infectious Disease:|ID:|Palliative care:|PT/OT:|Social work:
Heme/Onc consult:|Operation: appy|Operation: CABG x3|Surgery performed:|Intraoperative findings:|EBL:|Anesthesia type:
US abdomen:|US RUQ:|US kidneys:|MR head:|MRI L-spine:|XR chest:|X-ray hip:|CT sinus:|Carotid duplex:|NCHCT:|Upper GI series:
STOP taking:|START taking:|CHANGE how you take:|Do not take:|Please call:|You should:|Call your doctor if:|No driving:
Seek medical attention if:|Labs significant for:|Labs notable for:|Labs were significant for:|Studies remarkable for:
Imaging notable for:|Micro notable for:|Labs on discharge notable for:|Discharge creatinine:|Discharge diuretic:
Antibiotic course:|Sepsis course:|PACU course:|Antepartum course:|Hospital problem list:|Active hospital problems:
Incidental findings:|Outstanding studies:|Items for follow-up:|Next INR check:|INR goal:|OPAT:|Dialysis orders:
Hemodialysis schedule:|Transfusions:|Blood products:|DVT prophylaxis:|Dressing changes:|Suture removal:|Pain control:
Oxygen requirement:|Home oxygen:|Equipment needs:|VNA orders:|Accepting facility:|Critical care time:|FEN/GI:
Suicide risk assessment:|Safety plan:|Axis I:|Group participation:|Response to treatment:|Seclusion:|Psychopharmacology:
Newborn screen:|Hearing screen:|Car seat test:|Lactation:|Circumcision:|Type of delivery:|Contraception plan:""")
APART = names(
    "Lines:|Lines/Drains/Airways:|LDA:|PICC line:|Access/Lines:|Drains:|Nutrition:|Vent settings:|I/O:"
)
UNKNOWN = names(
    """Zorble list:|Nightly meds:|Sedation:|Barium enema:|Keep taking:|Level of observation:"""
)
IN_AN_EXAM = names("""Lines: PIV x2|Access: AVF with thrill|Drains: JP x1|Nutrition: well nourished|PT: 2+|DP/PT: 2+
Hip: full range|Kidneys: not palpable|Pain assessment: 3/10|Exam notable for: murmur|Positive for: edema
Vent settings: AC 400/16|Lower extremity: warm|Brain stem: reflexes present""")
IN_A_HISTORY = names("""Cardiology: CAD with stents|Neurology: migraine|Operation: appy 1998|Dialysis: since 2014|Nutrition: poor
Labs notable for: Na 130|Lines: old port|Transfusions: two
Psychiatry: followed""")
ASKED = names(
    "Do you smoke: no|Have you fallen: twice|Are you safe at home: yes|How many drinks do you have: two"
)
TITLES = names("""DISCHARGE SUMMARY NOTE|DISCHARGE SUMMARY (FINAL)|Discharge Summary - General Medicine
INPATIENT DISCHARGE SUMMARY REPORT|Physician Discharge Summary|*** DISCHARGE SUMMARY ***|DEATH SUMMARY
Document type: Discharge Summary|Discharge Service: MEDICINE|Discharge Attending: ___|Discharge to: home""")
CAPTIONS = names("""Surgery: CABG|Complications: retinopathy|Diagnosis: CLL|Therapy: lithium|Pathology: benign
Vaginal discharge: none|Discharge: - fever, - cough|Last discharge: ___|Coursework: online|Telephoned: twice
Diagnosed with: AML|Hospital visits: many|Planned for: rest|Labs showed:|Procedural sedation was: fine""")
KEPT = {
    "CHIEF COMPLAINT": "Chief Compl:|CHIEF C/O:|Presenting Sx:|Reason for admit:|Admit reason:|Main problem:"
    "|Reason for ED visit:|Reason for Hospital Admission:|Chief Complaint (CC):"
    "|Identifying data and chief complaint:|Reason for ICU admission:|Reason for psychiatric admission:",
    "PRESENT ILLNESS": "History of Pres. Illness:|ID/CC/HPI:|History Of Presenting Symptoms:|Narrative HPI:"
    "|CC & HPI:|HISTORY OF PRESNT ILLNESS|HPI (per ___):|Mechanism of injury:|Mode of presentation:"
    "|Onset of illness:|Present psychiatric illness:|Presenting history and events:",
    "MEDICAL HISTORY": "PMHx/PSHx:|Past Med/Surg Hx:|PMH (per OMR):|Past Medical Histroy:|Past Hx:",
    "MEDICATION ON ADMISSION": "Outpt meds:|Medications as outpatient:|Prescription meds at home:|Meds (home):"
    "|Home medications (confirmed with pharmacy):",
    "ALLERGIES": "Allergies & Intolerances:|ADRs:|Allergies (reviewed):|ALLERGIES AND SENSITIVITIES:"
    "|Food allergies:|Latex allergy:|Medication intolerances:|Allergies and reactions:",
    "PHYSICAL EXAM": "Physical Exam in ICU on admission:|Exam upon arrival to floor:|ICU admission exam:"
    "|Phyiscal Exam:|P/E:|Exam (admit):|Physical exam on arrival to ICU:|Physical exam prior to surgery:"
    "|Newborn exam:",
    "FAMILY HISTORY": "Family Health History:|F/H:|Hx, family:|Fam. Hx.:",
    "SOCIAL HISTORY": "S/H:|Soc. Hx.:|Social/Occupational History:",
}


@pytest.mark.parametrize("header", [*LATE, *QUALIFIED])
@pytest.mark.parametrize("between", ["\n", "\n\n"])
def test_a_later_header_ends_the_exam_of_the_admission(header: str, between: str) -> None:
    note = render_note(cut_sections(f"{BEFORE}{between}{header}\nSECRET words\n"))
    assert note.endswith("PHYSICAL EXAM: clear lungs")


BEHIND = [
    f"{between}{header}{said}"
    for header in (*BENEATH, *APART)
    for between in ("\n", "\n\n")
    for said in ("\nSECRET words\n", " SECRET words\n")
    # With its text between findings a caption of APART is a part of the exam.
    if header in BENEATH or "\n\n" in between or said[0] == "\n"
]


@pytest.mark.parametrize("text", BEHIND)
def test_what_the_stay_writes_beneath_an_exam_is_no_part_of_it(text: str) -> None:
    assert render_note(cut_sections(f"{BEFORE}{text}")).endswith("PHYSICAL EXAM: clear lungs")


@pytest.mark.parametrize("header", UNKNOWN)
@pytest.mark.parametrize("between", ["\n", "\n\n"])
def test_an_unknown_header_alone_on_its_line_ends_an_exam(header: str, between: str) -> None:
    note = render_note(cut_sections(f"{BEFORE}{between}{header}\nSECRET words\n"))
    assert note.endswith("PHYSICAL EXAM: clear lungs")


@pytest.mark.parametrize("line", IN_AN_EXAM)
def test_a_finding_of_the_exam_stays_in_it(line: str) -> None:
    got = cut_sections(f"{BEFORE}\n{line}\nKEEP this\n\nPertinent Results:\nSECRET\n")
    assert got["PHYSICAL EXAM"].endswith(f"{line} KEEP this")


@pytest.mark.parametrize("line", IN_A_HISTORY)
def test_the_same_captions_stay_text_in_a_history(line: str) -> None:
    got = cut_sections(f"CC:\nfall\n\nPMH:\nHTN\n{line}\nKEEP this\n\nExam:\nclear\n")
    assert got["MEDICAL HISTORY"].endswith(f"{line} KEEP this")


@pytest.mark.parametrize("line", ASKED)
def test_what_a_social_history_asks_ends_nothing(line: str) -> None:
    got = cut_sections(f"HPI:\nfell\n\nSocial History:\nalone\n{line}\nKEEP\n\nExam:\nclear\n")
    assert got["SOCIAL HISTORY"].endswith("KEEP")


@pytest.mark.parametrize("caption", ["Scheduled", "PRN", "Standing meds", "PRN medications"])
def test_a_list_of_home_medication_is_kept_with_its_schedules(caption: str) -> None:
    got = cut_sections(f"HPI:\nfell\n\nMedications on Admission:\n{caption}:\naspirin\n")
    assert got["MEDICATION ON ADMISSION"].endswith("aspirin")


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
