"""What a header does where it stands: opens a section, ends one, or is a caption or a sentence.

In: the state of the reader, a header that the grammar found, the shape of its line. Out: whether it
counts (`acts`), and what it opens and proves (`find_target`). Decided here: the rules that
`notes.mimic.sections` lists. Where a reading is open, text of the stay is kept out rather than a
caption in. Pure.
"""

import re
from collections.abc import Set
from functools import lru_cache

from deepicd.sections.captions import is_caption
from deepicd.sections.header_match import SOURCE, HeaderMatch, Start
from deepicd.sections.headers import Header
from deepicd.sections.later_captions import begins_late, is_beneath, is_problem, tells_stay
from deepicd.sections.lexicon import load_lexicon
from deepicd.sections.names import SECTION_OF
from deepicd.sections.state import (
    AT_THE_DOOR,
    AT_THE_END,
    CAPTIONS,
    ENDS,
    EXAM,
    GIVEN,
    HISTORIES,
    ILLNESS,
    IN_THE_STAY,
    LATE,
    LATER_EXAM,
    MEASURED,
    MEDICATION,
    NO_STAY,
    STAY,
    State,
)

_LISTS = (*HISTORIES, MEDICATION, "ALLERGIES")
"""Sections whose items may be a word that is a header elsewhere."""
_TIMED = (
    *("on", "at", "upon", "day", "time", "date", "prior", "before", "the "),
    *("d/c", "dc", "disch"),
)
"""How a header begins that names a time alone."""
_NAMED = ("d/c", "dc", "disch", "death", "expir")
"""Of these the ones that no preposition follows: "discharge from the left ear"."""
_ADMITTED = re.compile(r"(?:(?:up)?on|at)\W+admi|at the time of admi", re.IGNORECASE)
_AMBIGUOUS = ("pe", "p.e.", "sh", "fh", "exam", "ms")
"""In the middle of a line these are rarely headers: PE is an embolism too."""
_FROM_SITE = re.compile(r"(?:discharge|d/?c) from\b", re.IGNORECASE)
"""Before a part of the body it names where, not when: "Discharge from wound"."""
_LONG_WORD = 13
"""A shorter header of what is given at the end ("Diet:") is no evidence of the stay."""
_LONG_BARE = 3
_MEASURES = ("dry", "weight", "wt", "initial", "baseline")
"""How a value in a line of a medical history begins."""


def acts(state: State, match: HeaderMatch, shape: str) -> bool:
    """Whether a header in a line is one here, and not a caption or a part of a sentence."""
    header = match.header
    if match.form == "bare" and not _is_bare(state, match, shape):
        return False
    if not header.topics:
        return _is_time(state, match, shape)
    # "Exam showed" without a sign is a sentence of a history, and a header elsewhere only if values
    # follow.
    is_weak = match.form == "run_in" and match.style == "sentence" and not match.is_measured
    if is_weak and state.is_history:
        return False
    if header.topics == ("title",):
        # In a sentence or list of a history it is another paper: "Discharge summary from OSH:".
        is_part = match.form == "inside" or match.is_listed
        is_told = header.time == "past" or SOURCE.search(shape) is not None
        return not (state.is_flat or ((is_part or is_told) and state.is_history))
    if ENDS.isdisjoint(header.topics):
        return _is_section(state, match, shape)
    return not is_caption(state, match, shape)


def find_target(state: State, match: HeaderMatch) -> tuple[str | None, int]:
    """Section that a header opens (None: it ends the one before) and the evidence it gives."""
    header = match.header
    if header.topics == ("title",):
        return (None if state.has_text else state.current), NO_STAY
    ends = _ends_of(header.topics)
    if ends:
        return None, _evidence_of_end(state, match, ends)
    return _open_kept(state, header)


@lru_cache(maxsize=1 << 10)
def _ends_of(topics: tuple[str, ...]) -> frozenset[str]:
    """Topics of a header that end a section."""
    # "HPI per ED": the emergency department tells the illness, it ends nothing.
    return ENDS.intersection(topics) - ({"emergency"} if "illness" in topics else set())


def is_secretion(match: HeaderMatch, rest: str) -> bool:
    """Whether a header is a body's discharge: "Discharge: yellow"."""
    header = match.header
    if header.topics or header.has_preposition or header.time != "discharge":
        return False
    words = re.findall(r"[a-z]+", rest.lower())[:4]
    return rest.lstrip()[:1] in ("+", "-") or not load_lexicon().words["secretion"].isdisjoint(
        words
    )


def ends_by_unknown(state: State, start: Start, shape: str) -> tuple[bool, int]:
    """Whether a header with unknown words ends the open section, and its evidence of the stay."""
    if state.current == EXAM and start.match is None and is_problem(state, shape):
        return True, LATER_EXAM
    if tells_stay(state, shape):
        return True, LATER_EXAM
    if state.current is not None and not state.is_history and is_beneath(state, shape):
        return True, LATER_EXAM if state.current == EXAM else NO_STAY
    phrase, text = start.phrase, shape.strip()
    if phrase is None or phrase.time == "past" or state.current is None:
        return False, NO_STAY
    is_alone = text.endswith(":") or text.isupper()
    is_titled = start.style in ("upper", "title")
    is_late = phrase.time in AT_THE_END or (phrase.time == "stay" and is_alone)
    ends = ENDS.intersection(phrase.topics)
    if state.is_history:
        is_named = is_late or bool(ends - CAPTIONS)
        does_end = is_alone and is_titled and is_named and not start.is_listed
    else:
        is_named = is_late and begins_late(shape)
        is_titled |= start.style == "sentence" and (
            (state.is_after_blank and is_late) or is_named or "course" in ends
        )
        is_body = "body" in phrase.topics or phrase.topics == ("history",)
        # Captions of an exam have their finding on the line, or name a part of the body.
        is_headed = state.current == EXAM and text.endswith(":")
        is_own = is_headed or (is_titled and state.is_after_blank)
        is_apart = (is_alone and is_own and not is_body) or _is_unnamed(state, start, shape)
        does_end = is_apart or (bool(is_late or ends) and (is_alone or is_titled))
    if not does_end or not (is_late or GIVEN & ends):
        return does_end, NO_STAY
    return True, STAY if ends and state.has_history else LATER_EXAM


def _is_unnamed(state: State, start: Start, shape: str) -> bool:
    """Whether a title of unknown words opens a paragraph behind an exam: "Coding Notes: sepsis"."""
    phrase = start.phrase
    is_title = start.style in ("upper", "title") and state.is_after_blank and not start.is_listed
    if phrase is None or state.current != EXAM or not is_title:
        return False
    num_words = sum(map(str.isalpha, shape.partition(":")[0].split()))
    return phrase.num_unknown > 0 and num_words > 1 and not (phrase.topics or phrase.time)


def is_counted(state: State, shape: str) -> bool:
    """Whether a line with unknown words is counted as a header that the grammar does not know."""
    text = shape.strip()
    if text.endswith(":"):
        return True
    if not text.isupper():
        return False
    # "NKDA" below "Allergies:" is a value; two words, or one behind a blank line, may be a header.
    num_words = sum(len(word) > 1 and word.isalpha() for word in text.split())
    return num_words > 1 or (num_words > 0 and state.is_after_blank)


def _is_bare(state: State, match: HeaderMatch, shape: str) -> bool:
    """Whether a header alone on its line is no rest of a sentence and no item of a list."""
    header, text = match.header, shape.strip()
    if match.style in ("upper", "title") and not match.is_listed:
        return True
    # An item of a list ("- Diet") is a header only where headers are written as items too.
    if match.is_listed and state.current in _LISTS:
        is_late = header.num_words > 1 and header.time in LATE
        is_heading = state.has_listed or state.is_after_blank
        return is_heading or is_late or match.style == "upper"
    if state.is_open_ended() or (text.endswith((".", ",")) and match.style == "lower"):
        return False
    is_end = not ENDS.isdisjoint(header.topics)
    num_words = sum(any(map(str.isalpha, word)) for word in text.split())
    if state.is_history and is_end and match.style == "sentence" and num_words > _LONG_BARE:
        return state.is_after_blank or header.time in AT_THE_END
    # "PE" or "ROS" alone on a line is a header; one longer word in lower case is the rest of a
    # sentence.
    is_short = len(text) <= 4 and not is_end
    return num_words > 1 or "/" in text or is_short or state.is_after_blank or match.is_listed


def _is_time(state: State, match: HeaderMatch, shape: str) -> bool:
    """Whether a header that names a time alone is one: "At discharge", "On admission:"."""
    header = match.header
    if header.time in AT_THE_END:
        return _is_end_time(state, match, shape) and _is_written_as_time(state, match)
    if header.time in IN_THE_STAY:
        if header.time == "scheduled" and state.current == MEDICATION:
            return False  # a part of the list of home medication: "PRN:"
        is_named = match.form in ("colon", "bare") and match.style != "lower"
        is_later = header.has_preposition or (is_named and state.current == EXAM)
        return is_later and state.current in (EXAM, MEDICATION)
    if header.time == "admission" and match.form != "run_in":
        return bool(_ADMITTED.match(shape, match.start)) and match.style != "lower"
    return False


def _is_end_time(state: State, match: HeaderMatch, shape: str) -> bool:
    """Whether words of discharge or death name the time of what follows."""
    header, rest = match.header, shape[match.end :]
    if not state.has_text and not header.has_preposition:
        return False  # the name of the paper
    if is_secretion(match, rest):
        return False
    # Death alone is a fact of a family; with a preposition it is a time.
    is_single = header.time == "death" and not header.has_preposition
    if is_single and state.current not in (EXAM, None) and rest.strip():
        return False  # "Death: father at 60"
    head = shape[match.start : match.end].lower()
    # "Discharge from the left ear" names where, not when.
    if header.has_preposition and head.startswith(_NAMED):
        return False
    return head.startswith(_TIMED) or not (match.style == "lower" or state.is_history)


def _is_written_as_time(state: State, match: HeaderMatch) -> bool:
    """Outside an exam a time alone has to be written like a header."""
    if state.current == EXAM:
        return True
    if match.form == "run_in":
        return match.is_measured and match.style != "lower"
    if match.form == "mark":
        return match.style not in ("lower", "sentence")
    return match.style != "lower" or (match.header.has_preposition and match.form != "inside")


def _is_section(state: State, match: HeaderMatch, shape: str) -> bool:
    """Whether a header of kept topics opens or ends something, or is a caption."""
    header = match.header
    topics = set(header.topics)
    is_late = header.time in AT_THE_END
    if topics <= {"body", "caption"}:
        is_site = _FROM_SITE.match(shape, match.start) is not None
        return is_late and "body" in topics and match.style != "lower" and not is_site
    if is_late:
        return True
    if topics <= {"review"}:
        return state.current is None and state.evidence == NO_STAY
    if topics <= {"vitals", "body"}:
        return _is_vitals(state, match, shape, topics=topics)
    if topics <= {"background", "habits"}:
        return _is_background(state, match, shape)
    if topics == {"history"}:
        return match.form != "inside" and (state.current is None or match.style == "upper")
    if topics == {"problems"}:
        return not state.is_history
    return _is_named_section(state, match, shape)


def _is_named_section(state: State, match: HeaderMatch, shape: str) -> bool:
    header = match.header
    if header.time == "changed" and not _is_change(state, match, shape):
        return False
    if header.time == "past" and header.topics == ("medication",) and state.is_history:
        return False
    if header.time == "scheduled" and state.current == MEDICATION:
        return False
    # "Lungs:" in an exam is a caption of the exam.
    is_system = "body" in header.topics and header.time in ("", "admission")
    if is_system and state.current == EXAM:
        return False
    if match.form in ("inside", "run_in"):
        return _is_kept_inside(state, match, shape)
    return True


def _is_change(state: State, match: HeaderMatch, shape: str) -> bool:
    """Whether words of changed medication are a header, and no sentence of a history."""
    if not state.is_history:
        return match.style != "lower" or match.form == "colon"
    is_shouted = shape[match.start : match.end].split()[0].isupper()
    if is_shouted and match.form == "colon":
        return True  # "STOP taking: aspirin"
    is_alone = not shape[match.end :].strip()
    is_own = state.is_after_blank or match.style in ("upper", "title")
    return match.form in ("colon", "bare") and is_alone and is_own


def _is_measure(state: State, match: HeaderMatch, shape: str) -> bool:
    """Whether one value of a medical history stands behind its caption: "Dry weight: 80"."""
    first = shape[match.start : match.end].lower().partition(" ")[0].strip(":")
    is_line = match.form == "colon" and not state.is_after_blank and match.style != "upper"
    return is_line and first in _MEASURES and bool(shape[match.end :].strip())


def _is_vitals(state: State, match: HeaderMatch, shape: str, *, topics: Set[str]) -> bool:
    """Vital signs belong to the exam; in an illness and in an exam they are a caption."""
    header = match.header
    if header.time in IN_THE_STAY:
        return state.current in (EXAM, MEDICATION)
    if state.current == "MEDICAL HISTORY" and _is_measure(state, match, shape):
        return False
    if header.time == "past" or state.current in (ILLNESS, EXAM) or "body" in topics:
        is_own = match.style == "upper" or state.is_after_blank
        return header.time == "admission" and is_own and match.form != "inside"
    return match.form == "colon" or (match.form == "bare" and match.style != "lower")


def _is_background(state: State, match: HeaderMatch, shape: str) -> bool:
    """Whether one kind of past history ("Oncologic history:") opens a section, or is a caption."""
    if state.current == SECTION_OF[match.header.topics[0]] or match.form == "inside":
        return False
    if state.is_history:
        is_alone = not shape[match.end :].strip()
        is_own = state.is_after_blank or match.style == "upper"
        return match.style in ("upper", "title") and is_alone and is_own
    return True


def _is_kept_inside(state: State, match: HeaderMatch, shape: str) -> bool:
    """Whether a kept header in the middle of a line is one."""
    before = shape[: match.start].rstrip()
    is_anew = state.is_packed or before.endswith((".", ";", "|"))
    if match.style == "lower" or (match.style == "sentence" and not is_anew):
        return False
    head = shape[match.start : match.end].strip(" :")
    if head.lower() in _AMBIGUOUS:
        return state.is_packed and (state.current != EXAM or head.lower() in ("sh", "fh"))
    if len(head.split()) > 1 or "/" in head or state.is_packed:
        return True
    topics = set(match.header.topics)
    # "___ M PMH HIV, brought in by EMS" is a sentence.
    is_signed = is_anew or ":" in shape[match.start : match.end]
    return "allergies" in topics or (
        is_signed and head.isupper() and not topics.isdisjoint(("complaint", "illness", "medical"))
    )


def _evidence_of_end(state: State, match: HeaderMatch, ends: Set[str]) -> int:
    """What a header of a topic that is not kept proves."""
    header = match.header
    if header.time == "past" or ends <= {"admin"}:
        return NO_STAY
    # A course in front of any history may be the one of an earlier stay, so it is weaker evidence.
    if "course" in ends:
        return STAY if state.has_core else LATER_EXAM
    is_word = match.end - match.start < _LONG_WORD and not header.time
    is_given = (not GIVEN.isdisjoint(ends) and not is_word) or header.time in AT_THE_END
    if is_given and state.has_history and not ends <= MEASURED:
        return STAY
    return LATER_EXAM if header.time in LATE and state.has_core else NO_STAY


def _open_kept(state: State, header: Header) -> tuple[str | None, int]:
    topics = [topic for topic in header.topics if topic not in ("body", "caption")]
    section = _section_of(state, topics)
    if header.time in AT_THE_END:
        is_given = "medication" in topics and state.has_history
        return None, STAY if is_given else LATER_EXAM
    if section in (EXAM, MEDICATION) and header.time in IN_THE_STAY:
        return None, LATER_EXAM if section == EXAM and state.has_text else NO_STAY
    if section == EXAM and header.time == "now" and state.has_exam:
        return None, LATER_EXAM
    if topics == ["problems"] and header.time in IN_THE_STAY:
        return None, NO_STAY
    if state.evidence == STAY:
        is_read = section == MEDICATION and header.time in AT_THE_DOOR
        return (section if is_read else None), NO_STAY
    is_later = section == EXAM and state.evidence == LATER_EXAM
    return (None if is_later and header.time not in AT_THE_DOOR else section), NO_STAY


def _section_of(state: State, topics: list[str]) -> str:
    """Section of the topics: the illness or medical history before others, else the first."""
    if topics == ["history"]:
        return "MEDICAL HISTORY" if state.has_illness else ILLNESS
    for topic in ("illness", "medical"):
        if topic in topics:
            return SECTION_OF[topic]
    if not topics:
        return EXAM
    return next((SECTION_OF[topic] for topic in topics if topic in SECTION_OF), "MEDICAL HISTORY")
