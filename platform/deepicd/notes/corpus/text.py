"""One sampled admission → the text of a discharge summary, in the shape of MIMIC-IV-Note.

In: which findings, conditions, sex and onset an admission has. Out: the sections an admission note
keeps, and a full summary around them that also holds what must never be read (hospital course,
results, discharge diagnosis). Decided here: nothing in a kept section depends on the code itself,
only on what was sampled, so `sampling.posterior` stays exact. Held-out phrases are used only where
`is_held` is true, that is outside the training split.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from deepicd.notes.corpus.profiles import Condition, Finding
from deepicd.notes.corpus.vitals import write_vitals

_SHARE_HELD = 0.2
"""Probability that a phrase outside the training split is a held-out one."""

_WHO = {
    True: ("___ yo F", "___ year old woman", "___F"),
    False: ("___ yo M", "___ year old man", "___M"),
}
_WHO_HELD = {True: ("This is a ___ y.o. female",), False: ("This is a ___ y.o. male",)}
_VERBS, _VERBS_HELD = ("p/w", "presents with", "admitted with"), ("who comes in for",)
_DETAILS, _DETAILS_HELD = ("In ED:", "OSH:", "Workup:"), ("On arrival,",)
_DENIES, _DENIES_HELD = ("Denies", "No"), ("ROS negative for",)
_ONSETS = (
    (("of sudden onset", "sudden"), ("all at once",)),
    (("x3 hours", "x6 hours", "since this morning"), ("over the past few hours",)),
    (("x2 days", "x4 days", "for several days"), ("beginning the other day",)),
    (("x2 weeks", "x3 weeks", "for weeks"), ("over the past fortnight",)),
    (("x3 months", "for months"), ("dating back half a year",)),
)
NORMALS = {
    "lungs": "CTAB",
    "heart": "RRR",
    "abdomen": "soft NTND",
    "extremities": "no c/c/e",
    "neuro": "A&Ox3",
}
_DOUBTS = {
    "lungs": """wheezing infiltrate dependent_infiltrate pleural_fluid chest_pus lung_down
        ground_glass hypercapnia""",
    "heart": """af_rvr exam_tachycardia exam_bradycardia sawtooth dissociation sinus_pauses
        small_valve mitral_flail vegetation""",
    "abdomen": """distension epigastric_pain ruq_pain rlq_migration llq_pain groin_bulge navel_bulge
        bowel_levels pregnant second_pregnant""",
    "extremities": """leg_swelling leg_redness right_leg_pain left_leg_pain cold_leg
        femoral_fracture""",
    "neuro": """confusion aphasia right_weakness left_weakness neglect hallucinations ascending
        ptosis voices prolonged_seizure""",
}
DOUBTED = {system: frozenset(names.split()) for system, names in _DOUBTS.items()}
"""Findings beside which a normal exam of the system is not written."""
_ALLERGIES = ("NKDA", "NKDA", "NKDA", "penicillin", "sulfa", "codeine")
_FAMILY = ("non-contributory", "mother with breast CA", "father with MI", "___")
_HOME = ("lives with family", "lives alone", "lives at ___")

_Words = dict[str, dict[str, str]]
"""Place → finding → its words, in the order of the note."""


@dataclass(frozen=True)
class AdmissionFacts:
    """What the summary of one admission says: input of `Writer`."""

    is_female: bool
    onset: int
    present: Sequence[Finding]
    denied: Sequence[Finding]
    conditions: Sequence[Condition]
    disease: str
    title: str


class Writer:
    """Writes the summary of one admission; every choice comes from one seeded generator."""

    def __init__(self, rng: Random, *, is_held: bool) -> None:
        self.rng = rng
        self.is_held = is_held

    def sections(self, facts: AdmissionFacts) -> dict[str, str]:
        """Text of the kept sections by MIMIC-IV header; empty ones are left out."""
        # Most of these lines draw: in another order the same seed would give another corpus.
        findings = self._by_place(facts.present)
        history, meds = self._conditions(facts.conditions)
        social = [*findings["social"].values(), *self._maybe(0.35, _HOME)]
        sections = {
            "Allergies": ", ".join(self._maybe(0.6, _ALLERGIES)),
            "Chief Complaint": self._complaint(facts.present),
            "History of Present Illness": self._illness(facts, findings),
            "Past Medical History": ", ".join(history),
            "Social History": ", ".join(social),
            "Family History": ", ".join(self._maybe(0.25, _FAMILY)),
            "Physical Exam": self._exam(facts.present, findings),
            "Medications on Admission": ", ".join(meds),
        }
        return {header: text for header, text in sections.items() if text}

    def summary(self, facts: AdmissionFacts) -> str:
        """Full discharge summary; everything after the admission speaks of the diagnosis."""
        sections = self.sections(facts)
        sex = "F" if facts.is_female else "M"
        blocks = [
            f" \nName:  ___                     Unit No:   ___\n \nAdmission Date:  ___"
            f"              Discharge Date:   ___\n \nDate of Birth:  ___             Sex:   {sex}"
            "\n \nService: MEDICINE\n",
            self._section(sections, "Allergies"),
            "Attending: ___.\n",
            self._section(sections, "Chief Complaint"),
            "Major Surgical or Invasive Procedure:\nNone\n",
            *(self._section(sections, header) for header in _MIDDLE),
            self._exams(sections.get("Physical Exam", "")),
            f"Pertinent Results:\n___ 06:10AM BLOOD WBC-8.1 Hgb-11.2. Findings of {facts.title}.\n",
            f"Brief Hospital Course:\n___ was treated for {facts.disease} and improved.\n",
            self._section(sections, "Medications on Admission"),
            "Discharge Medications:\n1. Acetaminophen 650 mg PO Q6H:PRN pain\n",
            "Discharge Disposition:\nHome\n",
            f"Discharge Diagnosis:\n{facts.title}\n",
            "Discharge Condition:\nMental Status: Clear and coherent.\n",
            f"Discharge Instructions:\nYou were admitted with {facts.disease}.\n",
            "Followup Instructions:\n___\n",
        ]
        return "\n \n".join(block for block in blocks if block)

    def phrase(self, say: Sequence[str], held: Sequence[str] = ()) -> str:
        """One of the phrases; outside of training sometimes a held-out one."""
        if held and self.is_held and self.rng.random() < _SHARE_HELD:
            return self.rng.choice(held)
        return self.rng.choice(say)

    def _by_place(self, present: Sequence[Finding]) -> _Words:
        shuffled = self.rng.sample(present, len(present))
        shuffled.sort(key=lambda finding: not finding.cc)  # stable: chief complaints come first
        places: _Words = {"hpi": {}, "detail": {}, "exam": {}, "social": {}}
        for finding in shuffled:
            places[finding.place][finding.name] = self.phrase(finding.say, finding.held)
        return places

    def _complaint(self, present: Sequence[Finding]) -> str:
        complaints = [finding.cc for finding in present if finding.cc]
        return self.rng.choice(complaints) if complaints else self.rng.choice(("transfer", "___"))

    def _illness(self, facts: AdmissionFacts, findings: _Words) -> str:
        who = self.phrase(_WHO[facts.is_female], _WHO_HELD[facts.is_female])
        verb = self.phrase(_VERBS, _VERBS_HELD)
        complaints = ", ".join(findings["hpi"].values()) or "___"
        onset = ""
        if facts.onset < len(_ONSETS):
            onset = " " + self.phrase(*_ONSETS[facts.onset])
        text = f"{who} {verb} {complaints}{onset}."
        if findings["detail"]:
            details = ", ".join(findings["detail"].values())
            text += f" {self.phrase(_DETAILS, _DETAILS_HELD)} {details}."
        if facts.denied:
            denied = [self.phrase(finding.say, finding.held) for finding in facts.denied]
            text += f" {self.phrase(_DENIES, _DENIES_HELD)} {', '.join(denied)}."
        return text

    def _conditions(self, conditions: Sequence[Condition]) -> tuple[list[str], list[str]]:
        history, meds = [], []
        for condition in conditions:
            where = self.rng.random()  # from 0.4 to 0.8: in the history and on the medication list
            if where < 0.8:
                history.append(self.phrase(condition.say))
            if where > 0.4:
                meds.append(self.phrase(condition.meds))
        return history, meds

    def _exam(self, present: Sequence[Finding], findings: _Words) -> str:
        systems = {finding.name: finding.system for finding in present}
        vitals = {n: w for n, w in findings["exam"].items() if systems[n] == "vitals"}
        words = [w for name, w in findings["exam"].items() if name not in vitals]
        taken = set(systems.values())
        normals = [
            text
            for system, text in NORMALS.items()
            if system not in taken and DOUBTED[system].isdisjoint(systems)
        ]
        extra = self.rng.sample(normals, min(len(normals), self.rng.choice((0, 1, 1, 2))))
        return ", ".join([*write_vitals(systems.keys(), vitals, self.rng), *words, *extra])

    def _maybe(self, share: float, choices: Sequence[str]) -> list[str]:
        return [self.rng.choice(choices)] if self.rng.random() < share else []

    def _section(self, sections: dict[str, str], header: str) -> str:
        return f"{header}:\n{sections.get(header, '')}\n" if header in sections else ""

    def _exams(self, admission: str) -> str:
        """Admission and discharge exam, under the header variants real summaries use."""
        discharge = "VSS, NAD, doing well, pain gone"
        style = self.rng.randrange(3)
        if style == 0:
            return f"Physical Exam:\n{admission}\n \nDISCHARGE EXAM:\n{discharge}\n"
        if style == 1:
            return (
                f"Physical Exam:\nADMISSION PHYSICAL EXAM:\n{admission}\n\n"
                f"DISCHARGE PHYSICAL EXAM:\n{discharge}\n"
            )
        return f"Physical Exam:\nOn admission: {admission}\nOn discharge: {discharge}\n"


_MIDDLE = ("History of Present Illness", "Past Medical History", "Social History", "Family History")
