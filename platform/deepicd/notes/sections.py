"""Discharge summary → admission note: keep what was known on admission, and nothing else.

In: the text of one discharge summary. Out: the admission note as text. Decided here: which headers
open a kept section, which end one, and the one-of-three rule (a note needs a chief complaint, a
present illness or a medical history). A section ends at any known header, kept or not, and at any
other line that looks like a header and speaks of what came later; the text under such a header is
dropped, so a missed section end does not run into the hospital course. Pure.
"""

import re
from collections.abc import Mapping

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
    "CHIEF COMPLAINT": r"chief complaints?(?:/reason for admission)?|reason for admission|cc",
    "PRESENT ILLNESS": r"(?:history of (?:the )?)?present(?:ing)? illness|hpi",
    "MEDICAL HISTORY": r"past (?:medical|surgical)(?: (?:and|&) surgical)? history|medical history"
    r"|past medical/surgical history|pmhx?|psh|pmh/psh",
    "MEDICATION ON ADMISSION": r"(?:home |admission |preadmission )?med(?:ication)?s? (?:on|prior to|upon)"
    r" admission|home med(?:ication)?s|admission med(?:ication)?s|meds on admission",
    "ALLERGIES": r"allerg(?:y|ies)(?:/adverse drug reactions)?",
    "PHYSICAL EXAM": r"(?:admission |initial )?physical exam(?:ination)?(?: on admission| upon admission)?"
    r"|admission exam(?:ination)?|exam on admission|(?:on|at) admission",
    "FAMILY HISTORY": r"family (?:medical )?history|fhx?|fh",
    "SOCIAL HISTORY": r"social history|shx?|sh",
}
_ENDS = (
    r"(?:name|unit no|admission date|date of birth|service|attending)",
    r"(?:major )?(?:surgical|invasive)(?: or invasive)? procedures?|procedures?",
    r"(?:pertinent |relevant |laboratory |lab |imaging )?(?:results|labs|studies|imaging|data)",
    r"(?:brief |summary of )?hospital course|brief summary|assessment(?: (?:and|&) plan)?|impression|plan",
    r"(?:discharge|transfer|follow-?up|followup|transitional)\b[a-z /()-]{0,40}",
    r"(?:physical )?exam(?:ination)? (?:on|at|upon) discharge|(?:on|at|upon) discharge",
    r"(?:final|primary|secondary|principal|active|admission|admitting) (?:diagnos[ie]s|problems?|issues)"
    r"|diagnos[ie]s",
    r"microbiology|radiology|pathology|ekg|ecg|echo|cxr|ct head|mri|vitals on discharge",
)
_LATER = re.compile(
    r"course|result|lab|imag|diagnos|discharge|procedure|hospital|disposition|instruction|assess"
    r"|plan|impression|radiolog|microbio|patholog|stud(?:y|ies)|transition|problem",
    re.IGNORECASE,
)
_HEADER_LINE = re.compile(r"[A-Za-z][A-Za-z /&,()-]{2,58}:\s*")

_NAMED = "|".join(f"(?P<{name.replace(' ', '_')}>{variants})" for name, variants in _KEPT.items())
_HEADER = re.compile(
    rf"[ \t#*=_-]*(?:{_NAMED}|(?P<END>{'|'.join(_ENDS)}))[ \t*=_-]*(?P<sign>:|$)(?P<rest>.*)",
    re.IGNORECASE,
)


def cut_sections(text: str) -> dict[str, str]:
    """Kept sections of a summary, blanks collapsed; a header seen twice adds to its first text.

    Exception: after a discharge exam has begun, a second physical exam is not read.
    """
    parts: dict[str, list[str]] = {}
    current: str | None = None
    for line in text.splitlines():
        found = _match_header(line)
        if found is not None:
            current, line = found
        elif current is not None and _ends_section(line):
            current = None
        if current is not None and line.strip():
            parts.setdefault(current, []).append(line)
    joined = {name: " ".join(" ".join(parts.get(name, ())).split()) for name in SECTIONS}
    return {name: value for name, value in joined.items() if value}


def has_core(sections: Mapping[str, str]) -> bool:
    """One-of-three rule: chief complaint, present illness or medical history; a blank is none."""
    return any(sections.get(name, "").strip("_. ") for name in CORE_SECTIONS)


def render_note(sections: Mapping[str, str]) -> str:
    """Admission note: one line a section, in the order of `SECTIONS`, empty ones left out."""
    return "\n".join(f"{name}: {sections[name]}" for name in SECTIONS if sections.get(name))


def _match_header(line: str) -> tuple[str | None, str] | None:
    """Section that a line opens (None: one that is not kept) and the text after the header."""
    match = _HEADER.match(line)
    if match is None:
        return None
    for name in SECTIONS:
        if match[name.replace(" ", "_")] is not None:
            return name, match["rest"]
    return None, ""


def _ends_section(line: str) -> bool:
    return bool(_HEADER_LINE.fullmatch(line) and _LATER.search(line))
