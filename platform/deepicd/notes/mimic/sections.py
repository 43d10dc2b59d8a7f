"""Discharge summary → admission note: keep what was known on admission, and nothing else.

In: the text of one discharge summary. Out: the admission note as text. Decided here: which headers
open a kept section, which end one, and the one-of-three rule (a note needs a chief complaint, a
present illness or a medical history). A section ends at any known header, kept or not, and at any
other line that looks like a header and speaks of what came later; the text under such a header is
dropped, so a missed section end does not run into the hospital course. A header may also stand in
the middle of a line (a lost line break): one that opens a late section counts in any case there, a
kept one only if it is written like a title. Pure.
"""

import re
from collections.abc import Iterator, Mapping

SECTIONS = (
    "CHIEF COMPLAINT",
    "PRESENT ILLNESS",
    "MEDICAL HISTORY",
    "MEDICATION ON ADMISSION",
    "ALLERGIES",
    "PHYSICAL EXAM",
    "FAMILY HISTORY",
    "SOCIAL HISTORY",
)
"""Headers of an admission note, in order."""

CORE_SECTIONS = SECTIONS[:3]
"""At least one of these must be non-empty."""

_KEPT = {
    "CHIEF COMPLAINT": r"chief complaints?(?:/reason for admission)?|cc"
    r"|reason for admission(?:/chief complaint)?",
    "PRESENT ILLNESS": r"(?:history of (?:the )?)?present(?:ing)? illness|hpi",
    "MEDICAL HISTORY": r"(?:past )?(?:medical|surgical)(?: (?:and|&) (?:past )?surgical)?"
    r" (?:history|hx)(?:/past surgical history)?|past medical/surgical history"
    r"|pmhx?|pshx?|pmhx?/pshx?",
    "MEDICATION ON ADMISSION": r"(?:home |admission |pre-?admission )?med(?:ication)?s?"
    r" (?:on|prior to|upon|at) admission|(?:home|(?:pre-?)?admission|outpatient) med(?:ication)?s"
    r"|med(?:ication)?s at home",
    "ALLERGIES": r"(?:drug )?allerg(?:y|ies)(?:/adverse (?:drug )?reactions)?",
    "PHYSICAL EXAM": r"(?:(?:admission|initial|admitting) )?physical(?: exam(?:ination)?)?"
    r"(?: (?:on|upon|at) (?:admission|presentation))?"
    r"|(?:admission|initial|admitting) (?:pe|exam(?:ination)?)|pe(?=[ \t]*:)"
    r"|(?:pe|exam(?:ination)?) (?:on|upon|at) (?:admission|presentation)|(?:on|at) admission",
    "FAMILY HISTORY": r"family (?:medical )?(?:history|hx)|fam ?hx|fhx?",
    "SOCIAL HISTORY": r"social (?:history|hx)|soc ?hx|shx?",
}
_ENDS = (
    r"name|unit no|admission date|discharge date|date of birth|sex|service|attending",
    r"(?:major )?(?:surgical|invasive)(?: or invasive)? procedures?|procedures?",
    r"(?:(?:pertinent|relevant|lab(?:oratory)?|admission) )?(?:results|labs|studies|imaging)"
    r"(?: (?:on|upon|at) admission)?",
    r"impression|plan|assessment(?: (?:and|&) plan)?|ed course|course in ed",
    r"microbiology|radiology|pathology|ekg|ecg|echo|cxr|ct head|mri",
    r"(?:active|admission|admitting|principal|primary|secondary) (?:diagnos[ie]s|problems?|issues)",
)
"""Headers that end a section."""
_LATE = (
    r"(?:brief |summary of )?hospital course(?: by (?:problem|system|issue)s?)?|brief summary",
    r"discharge (?:medications?|meds|diagnos[ie]s|condition|disposition|instructions|labs?|summary"
    r"|plan|vitals?|vs|weight|status|pe|(?:physical )?exam(?:ination)?|physical)"
    r"(?: \(?[a-z]{1,20}\)?)?|(?:day of )?discharge",
    r"(?:(?:physical )?exam(?:ination)?|physical|pe|vitals|labs) (?:on|at|upon|prior to|before)"
    r" (?:day of )?(?:discharge|d/c)|(?:on|at|upon|prior to) (?:day of )?discharge"
    r"|d/c (?:exam|pe|meds|diagnos[ie]s|instructions)",
    r"(?:final|transfer) (?:diagnos[ie]s|medications?|exam)|diagnos[ie]s",
    r"follow-?up instructions?|transitional issues|facility",
)
"""Headers after which only the medication on admission is read: what follows was known later."""
_LATER = re.compile(
    r"course|result|lab|imag|diagnos|discharge|procedure|hospital|disposition|instruction|assess"
    r"|plan|impression|radiolog|microbio|patholog|stud(?:y|ies)|transition|problem",
    re.IGNORECASE,
)
_HEADER_LINE = re.compile(r"[A-Za-z][A-Za-z /&,()-]{2,58}:\s*")

_MAX_BARE_HEADER = 64
_SIGNS = (":", "- ", "– ")
"""A longer line opens a section only with one of these signs after the header."""
_READ_LATE = "MEDICATION ON ADMISSION"
_GROUPS = (*SECTIONS, "END", "LATE")
_NAMED = "|".join(f"(?P<{name.replace(' ', '_')}>{variants})" for name, variants in _KEPT.items())
_HEADER = re.compile(
    rf"[ \t#*=_-]*(?:{_NAMED}|(?P<END>{'|'.join(_ENDS)})"
    rf"|(?P<LATE>{'|'.join(_LATE)}))(?:[ \t*=_-]|\([^()]{{0,30}}\))*"
    r"(?P<sign>:|[-–] |$)(?P<rest>.*)",
    re.IGNORECASE,
)
_INLINE = re.compile(
    r"(?:^[ \t#*=_-]*|(?<=\S)[ \t]+)((?i:(?:brief )?hospital course|pertinent results"
    r"|(?:physical )?exam(?:ination)? (?:on|at|upon) discharge"
    r"|discharge (?:diagnos[ie]s|medications?|meds|condition|disposition|instructions|labs?"
    r"|(?:physical )?exam(?:ination)?)|(?:major )?surgical or invasive procedures?)"
    r"|Chief Complaint|CHIEF COMPLAINT|Past Medical History|PAST MEDICAL HISTORY|PMHx?"
    r"|History of (?:the )?Present Illness|HISTORY OF (?:THE )?PRESENT ILLNESS|HPI"
    r"|Medications on Admission|MEDICATIONS ON ADMISSION|Allergies|ALLERGIES"
    r"|(?:Admission )?Physical Exam(?:ination)?|(?:ADMISSION )?PHYSICAL EXAM(?:INATION)?"
    r"|Family History|FAMILY HISTORY|Social History|SOCIAL HISTORY)(?=[ \t]*:)",
)
"""A header in the middle of a line; its colon is what tells it from words of a sentence. One at the
beginning of a line matches too, so that no part of it matches alone."""


def cut_sections(text: str) -> dict[str, str]:
    """Kept sections of a summary, blanks collapsed; a header seen twice adds to its first text."""
    parts: dict[str, list[str]] = {}
    current: str | None = None
    is_late = False
    for line in _split_lines(text):
        header, rest = _match_header(line)
        is_late = is_late or header == "LATE"
        if header:
            is_read = header in SECTIONS and (not is_late or header == _READ_LATE)
            current = header if is_read else None
        if current is not None and rest.strip():
            parts.setdefault(current, []).append(rest)
    joined = {name: " ".join(" ".join(parts.get(name, ())).split()) for name in SECTIONS}
    return {name: value for name, value in joined.items() if value}


def has_core(sections: Mapping[str, str]) -> bool:
    """One-of-three rule: chief complaint, present illness or medical history; a blank is none."""
    return any(sections.get(name, "").strip("_. ") for name in CORE_SECTIONS)


def render_note(sections: Mapping[str, str]) -> str:
    """Admission note: one line a section, in the order of `SECTIONS`, empty ones left out."""
    return "\n".join(f"{name}: {sections[name]}" for name in SECTIONS if sections.get(name))


def _split_lines(text: str) -> Iterator[str]:
    """Lines of a text, with a break before every header in the middle of one."""
    for line in text.splitlines():
        if ":" in line:
            yield from _INLINE.sub(r"\n\1", line).splitlines()
        else:
            yield line


def _match_header(line: str) -> tuple[str, str]:
    """Header that a line opens and the text after it: a name of `SECTIONS`, END, LATE, or empty."""
    if len(line) > _MAX_BARE_HEADER and not any(sign in line for sign in _SIGNS):
        return "", line
    match = _HEADER.match(line)
    if match is None:
        is_other = bool(_HEADER_LINE.fullmatch(line) and _LATER.search(line))
        return ("END" if is_other else ""), line
    name = next(name for name in _GROUPS if match[name.replace(" ", "_")] is not None)
    return name, match["rest"]
