"""What a header in a line is, how it is written, and what its words mean.

In: a phrase of a line. Out: `HeaderMatch`, the meaning of the phrase (`read_header`) and its style.
Decided here: words in brackets may be unknown, but their time counts; most phrases are given up by
their first or last word, because nearly all text is no header. Pure.
"""

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

from deepicd.sections.headers import Header, Phrase, read_phrase
from deepicd.sections.lexicon import (
    FOREIGN,
    FREEING,
    correct,
    fit_word,
    load_lexicon,
    unglue,
    words_of_change,
)

MAX_HEADER = 96
"""Characters of the longest header."""
MAX_CACHED = 72
"""Characters of a line that may come again in other notes."""

TRAIL = " \t*#=_~\"'])}>.,;-|<[({:"
"""Marks that may stand around a header."""
# A colon with a digit on both sides is a time of day or a ratio.
COLON = re.compile(r"(?:(?<!\d):|:(?!\d))(?:[:=>-]+(?=\s|$))?(?:[ \t]*(?:\*\*|__|[\])}]))*")
FIRST = re.compile(r"[A-Za-z]+(?:'[a-z]+)?")
WORD = re.compile(r"[A-Za-z][A-Za-z.'/&-]*\d?|[A-Za-z]")
_PLURAL = re.compile(r"\((?:e?s)\b\)?")
SOURCE = re.compile(r"\b(?:per|by|from|according|courtesy)\b", re.IGNORECASE)
_OPENING = re.compile(r"[(\[{]")
_BRACKETS = re.compile(r"[(\[{][^()\[\]{}]*[)\]}]?")
_MAX_CORRECTED = 48
LATE_WORD = re.compile(
    r"[Dd](?:/?[Cc]\b|isch|\.[Cc]\.|eath|epart)|DISCH|[Ee]xpir|[Ll]eaving|[Pp]ronounce|passed away"
)
"""Without one of these no title in the middle of a line is of a later time."""
TWO_CAPITALS = re.compile(r"[A-Z][A-Z][)\]]?[/& (-]{1,3}[A-Z]{2}")
"""Without these, a colon or a late word nothing in the middle of a line is a header."""
MEASURE = re.compile(
    r"[\s,.(\[-]*(?:___|\d|vss?\b|v/s\b|vitals?\b|tm?\b|temp|tmax|bp\b|hr\b|p\d|rr\b|sat|o2|afebrile"
    r"|gen\b|general\b|nad\b|heent\b|wt\b|weight|exam\b|pe\b|labs?\b|alert\b|a&o|aox)",
    re.IGNORECASE,
)
GOES_ON = frozenset(["from", "for", "with"])
"""An unknown header with one of these is a sentence in capitals."""
LATE = frozenset(("discharge", "death", "stay", "latest", "changed", "scheduled"))
"""Times after the admission."""
KEPT = frozenset(
    [
        "complaint",
        "illness",
        "medical",
        "problems",
        "medication",
        "allergies",
        "exam",
        "vitals",
        "family",
        "social",
        "review",
        "history",
        "background",
        "habits",
        "caption",
        "body",
        "emergency",
    ]
)
"""Topics that end no section by themselves."""


class HeaderMatch(NamedTuple):
    """A header in a line."""

    header: Header
    form: str
    """colon, bare, mark, run_in, inside."""
    style: str
    """upper, title, sentence, lower."""
    start: int
    end: int
    """Where its text begins."""
    is_listed: bool = False
    """A bullet or a number stands before it."""
    is_measured: bool = False
    """Values follow a header that no sign ends."""


class Start(NamedTuple):
    """The beginning of a line."""

    match: HeaderMatch | None
    phrase: Phrase | None
    """Of an unknown header: what its known words say."""
    style: str
    is_listed: bool = False


_LATE_PARTS = (
    *("disch", "d/c", "dc", "d.c.", "death", "depart", "expir", "leaving", "pronounce"),
    "passed away",
)
"""Each match of `LATE_WORD` has one of these, in small letters."""


def has_late(line: str) -> bool:
    """Whether a word of a later time is in a line; quicker than `LATE_WORD` alone."""
    low = line.lower()
    is_possible = (
        ("disch" in low or "/c" in low or "dc" in low or ".c." in low)
        or ("death" in low or "depart" in low or "expir" in low or "leaving" in low)
        or "ronounce" in low
        or "passed away" in low
    )  # fmt: skip
    return is_possible and bool(LATE_WORD.search(line))


def find_late_lines(lines: Sequence[str]) -> set[int]:
    """Numbers of the lines that may hold a word of a later time: one look at all of them."""
    text = "\n".join(lines).lower()
    found = set()
    for part in _LATE_PARTS:
        number = end = 0
        while (place := text.find(part, end)) >= 0:
            number += text.count("\n", end, place)
            found.add(number)
            end = place + len(part)
    return found


def ends_of_runs(words: Sequence[re.Match[str]], text: str) -> list[int]:
    """For each word of a text the number of the first word behind it that no header holds.

    A header from a word on ends there at the latest. Brackets and sources free the words around
    them, so with one of these in the text every run goes to its end.
    """
    fits = [fit_word(word[0]) for word in words]
    end = len(words)
    if FREEING in fits or FOREIGN not in fits or not text.isascii() or _OPENING.search(text):
        return [end] * end
    ends = []
    for number in reversed(range(end)):
        end = number if fits[number] == FOREIGN else end
        ends.append(end)
    return ends[::-1]


@lru_cache(maxsize=1 << 14)
def read_header(head: str) -> Header | None:
    """Meaning of a header; words in brackets may be unknown, their time counts."""
    head = head.strip(TRAIL)
    if not head or not head[0].isalpha() or not _may_end(head):
        return None
    brackets = _BRACKETS.findall(head)
    if not brackets:
        return read_phrase(head).header
    outside = read_phrase(_BRACKETS.sub(" ", head)).header
    if outside is None:
        # "Exam (per the day team)": a source in brackets excuses unknown words only behind a
        # header; here there is none outside the brackets, so the phrase is a sentence.
        is_free = any(SOURCE.search(words) for words in brackets)
        return None if is_free else read_phrase(head).header
    # "Medications on admission (continued)": what is said of a change depends on the whole.
    if "medication" in outside.topics and (whole := read_phrase(head).header):
        return whole
    # Behind a topic "(final)" is a time; alone it would be the title of a paper.
    topic = "meds" if "medication" in outside.topics else "exam"
    times = [read_phrase(f"{topic} {words}").time for words in brackets]
    # What stands in brackets qualifies the rest, so its time counts before the others.
    time = next((time for time in times if time), outside.time)
    return outside._replace(time=time)


@lru_cache(maxsize=1 << 14)
def style_of(head: str) -> str:
    """How a header is written: upper, title, sentence or lower."""
    if head.isupper():
        return "upper"
    words = [word[0] for word in WORD.finditer(_PLURAL.sub("s", head))]
    if not words or not words[0][0].isupper():
        return "lower"
    content = [word for word in words if word.lower() not in load_lexicon().words["small"]]
    return "title" if all(word[0].isupper() for word in content) else "sentence"


def is_first(head: str) -> bool:
    """Whether a phrase begins as a header does."""
    first = FIRST.match(head)
    return bool(first and _is_first_word(first[0]))


@lru_cache(maxsize=1 << 15)
def _is_first_word(word: str) -> bool:
    word = word.lower()
    is_known = word in load_lexicon().phrases or len(word) == 1 or word == "hx"
    is_known |= word in load_lexicon().words["changed"]
    return is_known or bool(unglue(word)) or bool(correct(word))


@cache
def last_words() -> frozenset[str]:
    """Words that a header can end with."""
    entries = [words for entries in load_lexicon().phrases.values() for words, _ in entries]
    named = frozenset(words[-1] for words in entries) | words_of_change()
    return named | {"hx", *"abcdefghijklmnopqrstuvwxyz"}


def _may_end(head: str) -> bool:
    """Whether the last word of a phrase can end a header: most sentences fail here, cheaply."""
    last = last_word(head.rpartition(" ")[2].rstrip("0123456789:"))
    # Looking for a misspelling tries hundreds of words, so only short phrases are worth it.
    is_known = not last.isalpha() or last in last_words() or bool(unglue(last))
    is_free = "(" in head or "[" in head or SOURCE.search(head)
    return is_known or bool(is_free) or (len(head) < _MAX_CORRECTED and bool(correct(last)))


def last_word(word: str) -> str:
    """What stands in a word behind its last slash or dash, in lower case."""
    return re.split(r"[/&-]", word.lower().replace(".", ""))[-1]
