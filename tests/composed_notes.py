"""Invented discharge summaries with known sections, for tests and benchmarks of the section reader.

In: a random generator. Out: the text of a summary, and what an admission note must hold. The
spellings are written by hand from layouts of hospitals' summaries and from rules that others have
published; they do not come from the grammar's own table. Words of the stay begin with `stay`, so
that a leak can be told from a loss.
"""

# ruff: noqa: E501  # lists of spellings read better unbroken

from dataclasses import dataclass
from random import Random

KEPT = {
    "CHIEF COMPLAINT": """Chief Complaint|CC|C.C.|Chief complaint(s)|Reason for Admission|Presenting complaint|
    Reason for hospitalization|Chief Complaint/Reason for Admission|Chief Concern|
    Main complaint|Patient's chief complaint|Reason for visit""",
    "PRESENT ILLNESS": """History of Present Illness|HPI|H.P.I.|Hx of Present Illness|
    History of the Present Illness|History of Presenting Complaint|HPI per ED|CC/HPI|
    Present Illness|History of Present Illness per MICU|HPI (per admitting resident)|
    Presenting History|History of current illness|HPI/ED Course|Hx of presenting illness|
    Brief HPI""",
    "MEDICAL HISTORY": """Past Medical History|PMH|PMHx|P.M.H.|Past Med Hx|PMH and PSH|PMH/PSH|
    Past Medical and Surgical History|Medical History|Past Medical/Surgical History|
    Past Medical Hx|Past Surgical History|Significant Past Medical History|
    Past Medical & Surgical Hx|Past medical history (per chart)""",
    "MEDICATION ON ADMISSION": """Medications on Admission|Home Medications|Home Meds|Meds on admission|
    Medications prior to admission|Preadmission Medications|Pre-admission meds|
    Medications at home|PTA Medications|Admission Medications|Outpatient Medications|
    Medications Prior to Admission (home)|Home medications (per patient)""",
    "ALLERGIES": """Allergies|Drug Allergies|Allergies/Adverse Reactions|
    Allergies and adverse drug reactions|Known Allergies|Allergies / Intolerances|
    Medication allergies""",
    "PHYSICAL EXAM": """Physical Exam|Physical Examination|PE on admission|Admission Physical Exam|
    Physical Exam on Admission|PHYSICAL EXAM (ADMISSION)|Physical Exam - Admission|
    Admission Exam|Exam on presentation|Initial Exam|Physical Exam at time of admission|
    On Examination|Admission PE|Examination on admission|Physical exam in ED""",
    "FAMILY HISTORY": """Family History|FH|FHx|Fam Hx|Family Hx|Family Medical History|Family History (reviewed)""",
    "SOCIAL HISTORY": """Social History|SHx|Soc Hx|Social Hx|Personal and Social History|
    Social History (per patient)""",
}
"""Section → headers that open it, as hospitals write them."""

BEFORE = """Major Surgical or Invasive Procedure|Procedures|Pertinent Results|Admission Labs|
    Labs/Studies|Imaging|MICRO|TTE|CXR|EKG|Laboratory Data|Labs on admission|
    Assessment and Plan|A/P|Impression|Admission Diagnosis|Service|Attending|CT Head|
    Microbiology|Radiology|Procedure(s)|Blood cultures"""
"""Headers of what is not kept and may stand anywhere."""

LATER_EXAM = """Discharge Exam|Discharge Physical Exam|DISCHARGE PE|Physical Exam on Discharge|
    PHYSICAL EXAM (DISCHARGE)|Physical Exam - Discharge|Exam at discharge|
    Day of Discharge Exam|Discharge Day Exam|D/C Physical Exam|D/C Exam|DEATH EXAM|
    Exam at time of death|Physical exam at time of transfer|Exam on Transfer|
    Discharge Vitals|Vitals on Discharge|At discharge|On discharge|Exam prior to discharge|
    Discharge MSE|Exam (day of discharge)|[DISCHARGE EXAM]|Discharge exam (per team)|
    Physical Examination at the time of discharge|Discharge Physical Examination|
    Expiration Exam|Predischarge Exam|Final Exam|Exit Exam"""
STAY = """Brief Hospital Course|Hospital Course|HOSPITAL COURSE BY PROBLEM|
    Summary of Hospital Course|Course in Hospital|Hospital Course by Issue/System|
    Hospital course|ICU Course|Summary of Stay"""
GIVEN = """Discharge Medications|Medications on Discharge|Discharge Meds|D/C Meds|
    Discharge Diagnosis|Discharge Dx|Final Diagnosis|Discharge Diagnoses|Discharge Condition|
    Condition on Discharge|Discharge Disposition|Disposition|Discharge Instructions|
    Followup Instructions|Transitional Issues|Follow-up|Discharge Labs|Labs at Discharge|
    Diagnoses at discharge|Patient Instructions|Discharge Plan|Principal Diagnosis|
    Status at discharge|Pending Results"""

TITLES = ("DISCHARGE SUMMARY", "Discharge Summary", "Hospital Discharge Summary", "")
HEAD = "Name:  ___    Unit No:   ___\n\nAdmission Date:  ___    Discharge Date:   ___\n\nSex:   F\n"

SAID = """came with pain that grew over {n} days|denies fever, chills and sweats|
    in the ED the pressure was {n}|labs were notable for a sodium of {n}|
    a former stay with a hospital course c/b: delirium|the discharge labs were good: {n}|
    takes aspirin as before|with discharge from the left ear|lives with a sister|
    breathing was unlabored and the plan was to admit|was sent from rehab after a fall|
    had imaging at an outside hospital|no known exposure to tuberculosis|
    walks {n} blocks without help"""
EXAMINED = """lungs clear to the bases|no edema|abdomen soft|pulse {n}, regular|nose without discharge|
    breathing unlabored|wound without discharge|oriented to place|strength {n} of 5"""


def _names(text: str) -> list[str]:
    return [" ".join(name.split()) for name in text.split("|")]


_KEPT = {section: _names(text) for section, text in KEPT.items()}
_BEFORE, _LATER_EXAM, _STAY, _GIVEN = map(_names, (BEFORE, LATER_EXAM, STAY, GIVEN))
_SAID, _EXAMINED = _names(SAID), _names(EXAMINED)

Part = tuple[str, str, str]
"""Section or "", header, text."""


@dataclass(frozen=True)
class Composed:
    """One summary, and what has to come out of it."""

    text: str
    wanted: dict[str, str]
    """Section → its text, blanks collapsed."""


def compose(rng: Random) -> Composed:
    """A summary of random sections, spellings, order and layout."""
    parts = _compose_parts(rng)
    layout = _Layout(rng)
    lines = [layout.write(header, text) for _, header, text in parts]
    title = rng.choice(TITLES)
    head = rng.choice((HEAD, ""))
    text = layout.join([title, head, *lines])
    wanted: dict[str, list[str]] = {}
    for section, _, said in parts:
        if section:
            wanted.setdefault(section, []).append(said)
    ordered = {name: " ".join(" ".join(wanted[name]).split()) for name in KEPT if name in wanted}
    return Composed(text, ordered)


def _compose_parts(rng: Random) -> list[Part]:
    core = rng.sample(("CHIEF COMPLAINT", "PRESENT ILLNESS", "MEDICAL HISTORY"), rng.randint(1, 3))
    if "PRESENT ILLNESS" not in core and "MEDICAL HISTORY" not in core:
        core.append("PRESENT ILLNESS")
    others = rng.sample(("ALLERGIES", "FAMILY HISTORY", "SOCIAL HISTORY"), rng.randint(0, 3))
    first = [*core, *others, "PHYSICAL EXAM"]
    if rng.random() < 0.5:
        rng.shuffle(first)
    parts = [(name, rng.choice(_KEPT[name]), _say(rng, name)) for name in first]
    for _ in range(rng.randint(0, 3)):
        parts.insert(rng.randrange(len(parts) + 1), ("", rng.choice(_BEFORE), _stay(rng)))
    place = next(n for n, part in enumerate(parts) if part[0] == "PHYSICAL EXAM") + 1
    if rng.random() < 0.8:
        parts.insert(place, ("", rng.choice(_LATER_EXAM), _stay(rng)))
    if rng.random() < 0.8:
        parts.append(("", rng.choice(_STAY), _stay(rng)))
    name = "MEDICATION ON ADMISSION"
    if rng.random() < 0.7:
        parts.append((name, rng.choice(_KEPT[name]), _say(rng, name)))
    parts += [("", rng.choice(_GIVEN), _stay(rng)) for _ in range(rng.randint(1, 5))]
    return parts


def _say(rng: Random, section: str) -> str:
    said = _EXAMINED if section == "PHYSICAL EXAM" else _SAID
    words = [rng.choice(said).format(n=rng.randint(2, 200)) for _ in range(rng.randint(1, 4))]
    return "kept " + rng.choice((". ", ", ", ";\n")).join(words) + f" k{rng.randrange(10**6)}"


def _stay(rng: Random) -> str:
    return " ".join(f"stay{rng.randrange(10**6)}" for _ in range(rng.randint(1, 12)))


class _Layout:
    """How one hospital writes: case, marks, line breaks."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.case = rng.choice(("as it is", "as it is", "upper", "mixed"))
        self.sign = rng.choice((":", ":", ":", " :", "\uff1a", " -", ":-", "\u2236", ""))
        self.mark = rng.choice(("", "", "", "**{}**", "# {}", "## {}", "[{}]", "\u2022 {}", "- {}", "{n}. {}",
                                "== {} ==", "<b>{}</b>", "\u25aa {}", "_{}_", "({n}) {}", "\u3010{}\u3011"))  # fmt: skip
        self.blank = rng.choice((" ", " ", " ", "\u00a0", "  ", "\u2009", "\t"))
        self.end = rng.choice(("\n", "\n", "\r\n", "\r", "\u2028"))
        self.gap = rng.choice(("\n", "\n\n", "\n \n", "\n\n\n", "\n-----\n"))
        self.is_below = rng.random() < 0.5
        self.is_one_line = rng.random() < 0.1
        self.number = 0
        if self.is_one_line:
            self.sign, self.mark, self.gap, self.is_below = ":", "", " ", False

    def write(self, header: str, text: str) -> str:
        self.number += 1
        upper = self.case == "upper" or (self.case == "mixed" and self.rng.random() < 0.5)
        header = header.upper() if upper else header
        is_below = self.is_below or not self.sign
        mark = self.mark.replace("{n}", str(self.number)) or "{}"
        shown = mark.replace("{}", header.replace(" ", self.blank)) + self.sign
        if self.is_one_line:
            text = text.replace("\n", " ")
        return shown + ("\n" if is_below else " ") + text

    def join(self, parts: list[str]) -> str:
        text = self.gap.join(part for part in parts if part)
        if self.is_one_line:
            text = " ".join(text.split())
        return text.replace("\n", self.end)
