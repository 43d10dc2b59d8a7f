"""Wordings that give a note away: its gold code or title, a diagnosis, a medication of the stay.

In: texts of notes, a code. Out: which of them hold such a wording. Decided here: the words are
looked for as they stand, without the grammar of sections, so that what the grammar let through is
seen. Within the medication on admission the stay shows in three ways: an instruction to the patient
("STOP taking"), a mark of what is new or changed ("(NEW)", "CHANGED:"), a time in the stay
("started during this admission"); and a prescription that the hospital printed (MIMIC-IV's `RX`,
`Disp #*30`, `Refills:*0`). What the patient's own doctor changed is no such wording: "recently
increased", "held prior to admission", "started during her last hospitalization". Pure.
"""

import re
from collections.abc import Iterable
from functools import cache

from deepicd import codes

DIAGNOSES = {
    "diagnosis_phrase": r"\b(?:discharge|principal|final|primary) diagnos[ie]s\b",
    "diagnosis_wording": r"\b(?:(?:was|were|is|been) diagnosed with|found to have"
    r"|treated for|diagnosis of|dx of)\b",
}
"""Check → pattern, whatever the case."""

_SHORTER = re.compile(
    r",? \bunspecified(?: (?:organism|site|type|episode|part|cause)(?: of)?)?\b"
    r"|,? not elsewhere classified"
    r"|,? (?:initial|subsequent) encounter\b.*|,? sequela$| ?\([^)]*\)| ?\[[^\]]*\]"
)
_MIN_PHRASE = 4

_DRUGS = r"(?:med(?:ication)?s?|drugs?|prescriptions?|rx|tablets?|pills?|doses?)"
_DONE = (
    r"(?:start|add|stop|discontinu|h[eo]ld|increas|decreas|reduc|chang|initiat|beg[au]n|resum"
    r"|switch|adjust|titrat|prescri|taper)\w*"
)
_STAY = r"(?:admission|hospital(?:i[sz]ation)?(?: stay| course)?|stay|inpatient|icu|micu)"
_EARLIER = r"(?:prior|previous|last|recent|past|earlier|outside|another|other|first)"
_NOT_BEFORE = r"(?! (?:\d|a |last|about|by|recently|yesterday|prior|before|in ))"
_CHANGES = re.compile(
    r"\b(?:stop|start|continue|keep|resume|begin|discontinue) taking\b"
    r"|\b(?:change|changes to) (?:how|the way) you\b|\bplease (?:take|stop|start|continue|hold)\b"
    rf"|\b(?:your|the following|these) (?:home )?{_DRUGS} (?:was|were|have been|has been) {_DONE}"
    rf"|\b(?:we|you) (?:have |were |are )?(?:been )?{_DONE}"
    rf"|\b{_DONE}(?: \w+)? (?:during|throughout|while|in)(?! \w* ?{_EARLIER}\b)"
    rf"(?: (?:this|the|your|his|her|their|in))? {_STAY}\b(?! (?:in|at|last|for|of)\b)"
    rf"|\b(?:this {_STAY}|in-?house|on discharge|at discharge|upon discharge|for discharge)\b"
    rf"|\b{_DONE} (?:\w+ ){{0,2}}(?:at|on|upon|by|until|before) discharge\b"
    rf"|\bnew(?:ly)? (?:{_DRUGS}|started|prescribed|added)\b"
    rf"|\b(?:changed|modified|adjusted|discontinued|stopped) (?:home )?{_DRUGS}\b"
    rf"|\b{_DRUGS} (?:changes|changed|stopped|discontinued|started|added)\b{_NOT_BEFORE}"
    r"|[(\[*<]\s*(?:new|changed?|dose (?:changed|increased|decreased|reduced)|started|added)"
    r"\s*[)\]*>!]|\b(?:new|changed?)\s*(?::|!| [-–—] )|[-–—] ?(?:new|changed)\b(?! \w)"
    r"|\brx \*|\bdisp ?(?::|#|\*)|\brefills? ?[:*#]",
    re.IGNORECASE,
)
_MARK = re.compile(r"\b(?:NEW|CHANGED|STARTED|STOPPED)\b(?! YORK)")
"""In capitals within a list that is not: a mark, whatever stands around it."""
_SECTION = re.compile(r"^MEDICATION ON ADMISSION: (.*)$", re.MULTILINE)


@cache
def gold_phrases(code: str) -> tuple[str, ...]:
    """Lower-case wordings that give a code away: its title, those of its successors, short forms.

    A short form leaves out ", unspecified", "initial encounter" and what stands in brackets.
    """
    titles = [codes.title(each).lower() for each in (code, *codes.successors(code))]
    short = [" ".join(_SHORTER.sub("", title).split()).strip(" ,") for title in titles]
    return tuple(dict.fromkeys(name for name in (*titles, *short) if len(name) >= _MIN_PHRASE))


def written_codes(code: str) -> tuple[str, ...]:
    """The code as a text would write it; a bare category (`C20`) is a word of other use too."""
    return (codes.dotted(code).lower(),) if len(code) > 3 else ()


def is_gold_named(text: str, phrases: Iterable[str]) -> bool:
    """Whether one of the phrases stands word for word in a text; both in lower case."""
    return any(
        # The plain search first: it rules most phrases out and costs little.
        phrase in text and re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text) is not None
        for phrase in phrases
    )


def has_changed_medication(note: str) -> bool:
    """Whether the medication on admission of a rendered note tells what the stay changed."""
    return any(map(_is_changed, _SECTION.findall(note)))


def _is_changed(medication: str) -> bool:
    is_marked = not medication.isupper() and _MARK.search(medication)
    return bool(is_marked or _CHANGES.search(medication))
