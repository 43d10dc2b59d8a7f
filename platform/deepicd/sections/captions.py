"""Captions: headers of a topic that is not kept, which stay text in the section around them.

In: the state of the reader, a header, the shape of its line. Out: whether it is a caption
(`is_caption`). Decided here: what a history writes in front of a line, in a list and inside of a
sentence ends nothing; where a reading is open, text of the stay is kept out. Pure.
"""

import re
from collections.abc import Set

from deepicd.sections.header_match import HeaderMatch
from deepicd.sections.lexicon import load_lexicon, words_of
from deepicd.sections.state import AT_THE_END, CAPTIONS, MEASURED, NO_STAY, State

_NOTE = re.compile(r"\bnote\s*:?\s*$", re.IGNORECASE)
"""How the name of a paper ends whose text a history takes over: "Stroke Admission Note"."""
_TOLD = re.compile(r"\W*per\b(?! os\b)", re.IGNORECASE)
"""How a history says who told it: "Per the initial consult note:"."""
_EARLIER = re.compile(
    r"\b(?:prior to|before) (?:arrival|transfer|admission|presentation)\b"
    r"|\b(?:transplant|pregnancy|oncologic|cancer|disease) course\b"
)
"""A course of which a history tells, because it is over."""
_SHORT = 6
"""Words of the longest text behind such a caption; the course of a stay is longer."""
_YEAR = re.compile(r"\b(?:19|20)\d\d\b")
_LIVED = ("functional", "baseline", "home", "services", "vna", "ambulatory", "activity")
"""How a status or a help at home begins that the patient had before."""


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
    if _is_background_line(state, match, shape) or _is_item(state, match, shape):
        return True
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


def _is_valued(state: State, match: HeaderMatch, shape: str) -> bool:
    """Whether a caption of a history, read before any exam, has a short text on its line."""
    is_early = state.evidence == NO_STAY and not (state.has_exam or state.is_packed)
    num_words = len(shape[match.end :].split())
    is_line = match.form == "colon" and not state.is_after_blank and not match.is_listed
    return is_early and is_line and 0 < num_words <= _SHORT


def _is_background_line(state: State, match: HeaderMatch, shape: str) -> bool:
    """How the patient lived and what came before: "Functional status: independent"."""
    if not _is_valued(state, match, shape) or match.style == "upper":
        return False
    header = match.header
    words = shape[match.start : match.end].lower().strip(" :").split()
    is_status = header.topics in (("condition",), ("disposition",))
    if is_status and header.time in ("", "admission") and words[0] in _LIVED:
        return True
    return len(words) == 1 and words[0] in load_lexicon().words["own"]


def _is_item(state: State, match: HeaderMatch, shape: str) -> bool:
    """Whether a test or operation is an item of the medical history: "ECHO 2012: EF 40%"."""
    if state.current != "MEDICAL HISTORY" or not _is_valued(state, match, shape):
        return False
    words = words_of(shape[match.start : match.end])
    topics = set(match.header.topics)
    # "TTE:" and "Procedure(s):" may as well be of the stay, unless a year says no.
    is_plain = match.style != "upper" and topics == {"results"}
    is_old = is_plain or topics == {"admin"} or _YEAR.search(shape) is not None
    is_own = topics <= {"results", "procedure", "admin"} and not match.header.time
    return is_old and is_own and not load_lexicon().words["item"].isdisjoint(words)


def _is_earlier_course(match: HeaderMatch, shape: str) -> bool:
    """Whether a history names a course before the stay."""
    is_course = match.header.topics == ("course",) and match.style != "upper"
    return is_course and _EARLIER.search(shape[match.start : match.end].lower()) is not None


def _is_behind_comma(match: HeaderMatch, shape: str) -> bool:
    is_sentence = match.style == "sentence"
    return is_sentence and shape[: match.start].rstrip().endswith(",")


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
    # A sentence goes on behind a comma: "seen in clinic, hospital course: short".
    if _is_behind_comma(match, shape) and header.time not in AT_THE_END:
        return False
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
