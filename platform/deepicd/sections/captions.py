"""Captions: headers of a topic that is not kept, which stay text in the section around them.

In: the state of the reader, a header, the shape of its line. Out: whether it is a caption
(`is_caption`). Decided here: what a history writes in front of a line, in a list and inside of a
sentence ends nothing; where a reading is open, text of the stay is kept out. Pure.
"""

import re
from collections.abc import Set

from deepicd.sections.header_match import HeaderMatch
from deepicd.sections.state import CAPTIONS, MEASURED, State

_NOTE = re.compile(r"\bnote\s*:?\s*$", re.IGNORECASE)
"""How the name of a paper ends whose text a history takes over: "Stroke Admission Note"."""
_TOLD = re.compile(r"\W*per\b(?! os\b)", re.IGNORECASE)
"""How a history says who told it: "Per the initial consult note:"."""
_EARLIER = re.compile(
    r"\b(?:prior to|before) (?:arrival|transfer|admission|presentation)\b"
    r"|\b(?:transplant|pregnancy|oncologic|cancer|disease) course\b"
)
"""A course of which a history tells, because it is over."""


def is_caption(state: State, match: HeaderMatch, shape: str) -> bool:
    """Whether a header of a topic that is not kept stays text in the section around it."""
    header, rest = match.header, shape[match.end :].strip()
    topics = set(header.topics)
    if "emergency" in topics and topics & {"illness", "complaint"}:
        return False
    if match.form == "inside":
        return not _is_end_inside(state, match, shape)
    if state.is_history and _is_history_caption(state, match, shape, topics=topics):
        return True
    if state.is_history and topics == {"admin"} and _NOTE.search(shape):
        return match.form == "bare"
    is_habit = topics <= {"lifestyle"} and not header.time
    is_word = len(shape[match.start : match.end].split()) == 1
    return is_habit and is_word and state.current == "SOCIAL HISTORY" and bool(rest)


def _is_history_caption(state: State, match: HeaderMatch, shape: str, *, topics: Set[str]) -> bool:
    """Captions of a history: what was before, one word in front of a line, an item of a list."""
    header, has_text = match.header, bool(shape[match.end :].strip())
    if header.time in ("past", "before") or topics == {"emergency"}:
        return True
    if topics == {"course"} and has_text and not state.is_after_blank:
        return _is_earlier_course(match, shape)
    if header.time:
        return topics == {"admin"} or (header.time == "latest" and topics <= MEASURED)
    if topics == {"admin"}:
        return match.form == "colon" and match.style == "sentence"
    if topics == {"issues"} and match.is_listed:
        return not (state.is_after_blank or state.has_listed)
    if state.is_after_blank or not has_text:
        return False
    if topics <= CAPTIONS and match.style != "upper" and header.num_words < 2:
        return True
    return topics <= {"results", "pathology"} and match.is_listed and not state.has_listed


def _is_earlier_course(match: HeaderMatch, shape: str) -> bool:
    """Whether a history names a course before the stay."""
    is_course = match.header.topics == ("course",) and match.style != "upper"
    return is_course and _EARLIER.search(shape[match.start : match.end].lower()) is not None


def _is_end_inside(state: State, match: HeaderMatch, shape: str) -> bool:
    """Whether a header in the middle of a line that is not kept ends the section."""
    header = match.header
    topics = set(header.topics)
    if header.time == "past" or "emergency" in topics:
        return False
    if state.is_history and (_TOLD.match(shape) or _is_earlier_course(match, shape)):
        return False
    if state.is_packed:
        return True
    # "dx ___:" is one word; the blank stands for a date or a name.
    words = shape[match.start : match.end].replace("_", " ").strip(" :").split()
    is_one = header.num_words < 2 and len(words) < 2
    if match.style == "upper":
        if is_one and state.is_history and ":" not in shape[match.start : match.end]:
            return False  # "MRCP with a stone"
        before = shape[: match.start].rstrip().rpartition(" ")[2]
        # One word in capitals behind another is the rest of a title or of an emphasis.
        is_part = is_one and len(before) > 2 and before.isalpha() and before.isupper()
        return not (is_part and state.is_history)
    if state.is_history and (is_one or topics <= {"admin"}):
        return False
    return not is_one or topics.isdisjoint(("treatment", "pathology", "lifestyle"))
