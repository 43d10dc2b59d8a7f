"""Captions that only the stay writes, beneath a section that is no history.

In: the state of the reader, the shape of a line. Out: whether its words in front of a colon end the
section: a consulting service, a list of devices, "Labs notable for:", what the letter to the
patient says, and unknown words in front of a treatment. Decided here: a history has the same
captions, and there they stay text. Pure.
"""

import re
from functools import lru_cache

from deepicd.sections.header_match import has_late
from deepicd.sections.headers import read_phrase
from deepicd.sections.lexicon import load_lexicon, words_of
from deepicd.sections.state import EXAM, MEASURED, State

_LONG_CAPTION = 48
"""Characters of the longest words in front of a colon that are looked up one by one."""
_PROBLEM = re.compile(r"\s*#{1,2} ?[A-Z][A-Za-z]")
"""How a list of problems begins, which an exam has not."""
_DAY_OF_STAY = re.compile(
    r"\b(?:(?:POD|HD) ?#?(?:[2-9]|1\d)\b|(?:on|by) (?:hospital )?day (?:[2-9]|1\d)\b"
    r"|(?:was|were) discharged)",
    re.IGNORECASE,
)
"""What no finding at the door has, whatever stands in front of it: "Wound: dehisced on POD 4"."""
_OF_EXAM = frozenset(("body", "vitals", "exam", "caption"))
_LINKS = ("was", "were", "is", "are")
_STAY, _APART, _ANY_SECTION = "beneath", "apart", "any"


def is_problem(state: State, shape: str) -> bool:
    """Whether a line beneath an exam begins a list of problems: "# CHF"."""
    return "#" in shape and bool(_PROBLEM.match(shape)) and not state.has_listed


def is_beneath(state: State, shape: str) -> bool:
    """Whether a line beneath a section begins what the stay or the letter wrote."""
    colon = shape.find(":", 0, _LONG_CAPTION + 1)
    kind = _kind_of(shape[:colon]) if colon >= 0 else ""
    if kind == _APART:
        # "Lines: PIV" between other findings is a part of the exam.
        is_own = state.is_after_blank or not shape[colon + 1 :].strip()
        return state.current == EXAM and is_own
    return kind == _ANY_SECTION or (kind == _STAY and state.current == EXAM)


def tells_stay(state: State, shape: str) -> bool:
    """Whether unknown words in front of a colon, beneath an exam, head what was done in the stay.

    "Overnight Happenings: was given amiodarone": an exam tells findings, and no treatment. What is
    known as a part of the exam ends it only where a day of the stay is named.
    """
    colon = shape.find(":", 0, _LONG_CAPTION + 1) if state.current == EXAM else -1
    if colon < 0 or not shape[colon + 1 :].strip():
        return False
    head = shape[:colon].strip()
    phrase = read_phrase(head)
    if not head[:1].isupper() or phrase.time in ("past", "before", "admission"):
        return False
    # Nearly all findings have none of these, and looking for them is quicker than for the pattern.
    low = shape.lower()
    may_name_day = "pod" in low or "hd" in low or "day" in low or "discharged" in low
    if may_name_day and _DAY_OF_STAY.search(shape, colon):
        return True
    is_own = not _OF_EXAM.isdisjoint(phrase.topics) and not phrase.num_unknown
    is_door = "emergency" in phrase.topics
    return not (is_own or is_door) and bool(_told_treatment().search(shape, colon))


@lru_cache(maxsize=1)
def _told_treatment() -> re.Pattern[str]:
    phrases = sorted(load_lexicon().words["treated"], key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, phrases))})\b", re.IGNORECASE)


def begins_late(shape: str) -> bool:
    """Whether a header begins with the discharge of a patient: "Discharge creatinine"."""
    words = shape.partition(":")[0].lower().split()
    return len(words) > 1 and has_late(words[0]) and not _secretion().intersection(words)


def _secretion() -> frozenset[str]:
    return load_lexicon().words["secretion"]


@lru_cache(maxsize=1 << 13)
def _kind_of(head: str) -> str:
    """What words in front of a colon name; empty where they name nothing of the stay."""
    around = load_lexicon().words
    words = [word for word in words_of(head) if word != "and"]
    if not words:
        return ""
    if words[-1] == "for" and around["found"].issuperset(words[-2:-1]):
        phrase = read_phrase(" ".join(word for word in words[:-2] if word not in _LINKS))
        if phrase.topics and set(phrase.topics) <= MEASURED:
            return _ANY_SECTION
    is_question = words[0] in around["asking"] and words[1:2] != ["not"]
    if not is_question and not around["addressed"].isdisjoint(words):
        return _ANY_SECTION
    if around["apart"].issuperset(words) and head.strip().lower() not in around["beneath"]:
        return _APART
    known = around["beneath"] | around["apart"]
    return _STAY if head.strip().lower() in known or known.issuperset(words) else ""
