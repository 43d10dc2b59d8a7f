"""Words of a header → what it means: which topics, at which time.

In: a phrase such as "Physical Exam (day of discharge)". Out: a `Header` with topics and time, or
the reason why the phrase is none. Decided here: every word has to be known, in whatever order;
words behind "per" name a source and are free; where a phrase names two times, the later one counts,
except that what is called prior or is of another hospital is past. A word that could be a topic or
something else ("final", "date") is a topic only where the phrase has no other. Pure.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from deepicd.sections.lexicon import Meaning, load_lexicon, words_of

MAX_WORDS = 12
"""A longer phrase is a sentence."""
_FREE_WORDS = 4
_LATER_FIRST = ("past", "death", "discharge", "stay", "latest", "admission", "before")
"""Of several times in one header the first of these counts."""


class Header(NamedTuple):
    """What the words of a header mean."""

    topics: tuple[str, ...]
    """As in the table, in the order of the words; empty where only a time is named."""
    time: str
    """past, before (the door), admission, stay, latest, discharge, death, or empty."""
    has_preposition: bool
    num_words: int
    """Words that mean something: topics, adjectives, times."""


class Phrase(NamedTuple):
    """What is known of a phrase, header or not."""

    header: Header | None
    """None unless every word is known and one names a topic or a time."""
    num_unknown: int
    is_prose: bool
    """It holds a word that only sentences have."""
    topics: tuple[str, ...]
    time: str
    """Topics and time of the words that are known."""


_NOTHING = Phrase(None, 0, False, (), "")


@lru_cache(maxsize=1 << 16)
def read_phrase(phrase: str) -> Phrase:
    """Meaning of a phrase; the same phrase is read once."""
    words = words_of(phrase)
    if not words or len(words) > MAX_WORDS:
        return _NOTHING._replace(num_unknown=len(words))
    meanings, num_unknown = _look_up(words)
    roles = {meaning.role for found in meanings for meaning in found}
    is_prose = "prose" in roles
    topics, time = _resolve(meanings)
    named = sum(any(one.role in _NAMING for one in found) for found in meanings)
    is_header = bool(topics or time) and not num_unknown and not is_prose
    header = Header(topics, time, _has(meanings, "preposition"), named) if is_header else None
    return Phrase(header, num_unknown, is_prose, topics, time)


_NAMING = {"topic", "adjective", "time"}


def _look_up(words: Sequence[str]) -> tuple[list[tuple[Meaning, ...]], int]:
    """Meanings of the phrases that words are made of, and how many words are unknown."""
    lexicon = load_lexicon().phrases
    found: list[tuple[Meaning, ...]] = []
    position = num_unknown = num_free = 0
    while position < len(words):
        fitting = (
            entry
            for entry in lexicon.get(words[position], ())
            if tuple(words[position : position + len(entry[0])]) == entry[0]
        )
        phrase, meanings = next(fitting, ((words[position],), ()))
        position += len(phrase)
        if num_free and words[position - 1] != "and":
            num_free -= 1
        elif meanings:
            found.append(meanings)
            num_free = _FREE_WORDS if any(one.role == "source" for one in meanings) else 0
        elif not phrase[0].isdigit():
            num_unknown += 1
    return found, num_unknown


def _resolve(meanings: Sequence[tuple[Meaning, ...]]) -> tuple[tuple[str, ...], str]:
    """Topics and time; a word of several roles is a topic only where nothing else is."""
    strong = [found[0].value for found in meanings if _is_only(found, "topic")]
    kinds = [one.value for found in meanings for one in found if one.role == "adjective"]
    times = {one.value for found in meanings for one in found if one.role == "time"}
    if "history" in strong:
        rest = [topic for topic in strong if topic != "history"]
        if "medical" in kinds:
            kinds = [kind for kind in kinds if kind != "background"]
        strong = [*kinds, *rest] or (["medical"] if "past" in times else ["history"])
        if kinds or rest:
            times.discard("past")
    elif not strong:
        weak = [
            one.value for found in meanings if len(found) > 1
            for one in found if one.role == "topic"
        ]  # fmt: skip
        if weak:
            only = {found[0].value for found in meanings if _is_only(found, "time")}
            times = only
        strong = weak or (["caption"] if kinds and not times else [])
    if len(strong) > 1:
        strong = [topic for topic in strong if topic not in ("title", "caption")] or ["title"]
    time = next((name for name in _LATER_FIRST if name in times), "")
    return tuple(dict.fromkeys(strong)), time


def _is_only(found: Sequence[Meaning], role: str) -> bool:
    return len(found) == 1 and found[0].role == role


def _has(meanings: Sequence[tuple[Meaning, ...]], value: str) -> bool:
    return any(one.value == value for found in meanings for one in found)
