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
_LATER_FIRST = ("past", "death", "discharge", "stay", "latest", "admission", "before", "scheduled")
_AT_THE_DOOR = ("admission", "before")
"""Of several times in one header the first of these counts."""


class Header(NamedTuple):
    """What the words of a header mean."""

    topics: tuple[str, ...]
    """As in the table, in the order of the words; empty where only a time is named."""
    time: str
    """past, before (the door), admission, stay, latest, discharge, death, or empty.

    Of an exam also: now (a later exam where one was read before).
    Of a list also: scheduled (by the hospital, where no other time is named).
    Of medication also: changed (in the stay), elsewhere (given or taken at another place).
    """
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
    return _read_changed(words, _read_words(words))


def _read_words(words: Sequence[str]) -> Phrase:
    phrases, num_unknown = _look_up(words)
    roles = {meaning.role for meanings in phrases for meaning in meanings}
    is_prose = "prose" in roles
    topics, time = _resolve(phrases)
    num_named = sum(any(meaning.role in _NAMING for meaning in meanings) for meanings in phrases)
    is_header = bool(topics or time) and not num_unknown and not is_prose
    header = Header(topics, time, _has(phrases, "preposition"), num_named) if is_header else None
    return Phrase(header, num_unknown, is_prose, topics, time)


def _read_changed(words: Sequence[str], phrase: Phrase) -> Phrase:
    """A phrase with the time that its words give to medication: changed in the stay, elsewhere."""
    around = load_lexicon().words
    header = phrase.header
    if header and header.topics == ("exam",) and not header.time:
        return phrase._replace(header=header._replace(time=_time_of_exam(words)))
    if header and "medication" not in header.topics:
        return phrase
    if not around["changed"].isdisjoint(words):
        return _change_of(words) or phrase
    if header and header.time in _AT_THE_DOOR and not around["elsewhere"].isdisjoint(words):
        # "Medications on admission from rehab" name the door without the other place.
        rest = _read_words([word for word in words if word not in around["elsewhere"]])
        if rest.time not in _AT_THE_DOOR:
            return phrase._replace(header=header._replace(time="elsewhere"))
    return phrase


def _time_of_exam(words: Sequence[str]) -> str:
    """Time of an exam by the words that say nothing of other headers."""
    # "Exam per discharge note": the words behind a source are free, the paper's name is not.
    sources = [place for place, word in enumerate(words) if word in ("per", "from")]
    if sources and not {"discharge", "dc", "death"}.isdisjoint(words[sources[0] :]):
        return "discharge"
    return "now" if not {"current", "currently", "now"}.isdisjoint(words) else ""


def _change_of(words: Sequence[str]) -> Phrase | None:
    """Medication that the stay changed: "Home meds held", "STOP taking"; None where it is not."""
    around = load_lexicon().words
    changes = around["changed"].intersection(words)
    others = [word for word in words if word not in changes and word not in around["told"]]
    # Beside a change "med" is no adjective of a history.
    rest = ["meds" if word == "med" else word for word in others]
    phrase = _read_words(rest)
    if phrase.num_unknown or phrase.is_prose:
        return None
    is_taking = (
        not phrase.header and words[0] in changes and not {"take", "taking"}.isdisjoint(words)
    )
    if not is_taking and "medication" not in phrase.topics:
        return None
    # A list of the admission goes on behind the end of a page.
    is_page = changes == {"continued"} and phrase.time == "admission"
    time = phrase.time if is_page or phrase.time in ("past", "death", "discharge") else "changed"
    topics = phrase.topics or ("medication",)
    named = phrase.header.num_words if phrase.header else 0
    header = Header(topics, time, has_preposition=False, num_words=named + len(changes))
    return Phrase(header, 0, False, topics, time)


_NAMING = {"topic", "adjective", "time"}


def _look_up(words: Sequence[str]) -> tuple[list[tuple[Meaning, ...]], int]:
    """Meanings of the phrases that words are made of, and how many words are unknown."""
    lexicon = load_lexicon().phrases
    phrases: list[tuple[Meaning, ...]] = []
    position = num_unknown = num_free = 0
    while position < len(words):
        fitting = (
            entry
            for entry in lexicon.get(words[position], ())
            if tuple(words[position : position + len(entry[0])]) == entry[0]
        )
        phrase, meanings = next(fitting, ((words[position],), ()))
        position += len(phrase)
        # "per Dr Smith": the words behind a source are names that no table has; "and" ends them,
        # because a second topic may follow.
        if num_free and words[position - 1] != "and":
            num_free -= 1
        elif meanings:
            phrases.append(meanings)
            is_source = any(meaning.role == "source" for meaning in meanings)
            num_free = _FREE_WORDS if is_source else 0
        # A number is neither a topic nor unknown: "Hospital day 3".
        elif not phrase[0].isdigit():
            num_unknown += 1
    return phrases, num_unknown


def _resolve(phrases: Sequence[tuple[Meaning, ...]]) -> tuple[tuple[str, ...], str]:
    """Topics and time; a word of several roles is a topic only where nothing else is."""
    strong = [meanings[0].value for meanings in phrases if _is_only(meanings, "topic")]
    kinds, times = _values(phrases, "adjective"), set(_values(phrases, "time"))
    if "history" in strong:
        rest = [topic for topic in strong if topic != "history"]
        # "Past medical and cardiac history" is the medical history as a whole.
        if "medical" in kinds:
            kinds = [kind for kind in kinds if kind != "background"]
        strong = [*kinds, *rest] or (["medical"] if "past" in times else ["history"])
        if kinds or rest:
            # Here "past" says that it is a history, and not that it was another stay.
            times.discard("past")
    elif not strong:
        weak = _values([meanings for meanings in phrases if len(meanings) > 1], "topic")
        if weak:
            # A word that became the topic ("final") must not be the time as well.
            times = {meanings[0].value for meanings in phrases if _is_only(meanings, "time")}
        strong = weak or (["caption"] if kinds and not times else [])
    # "Discharge summary: medications" speaks of medications; a title is left only alone.
    if len(strong) > 1:
        strong = [topic for topic in strong if topic not in ("title", "caption")] or ["title"]
    time = next((name for name in _LATER_FIRST if name in times), "")
    return tuple(dict.fromkeys(strong)), time


def _values(phrases: Sequence[tuple[Meaning, ...]], role: str) -> list[str]:
    return [meaning.value for meanings in phrases for meaning in meanings if meaning.role == role]


def _is_only(meanings: Sequence[Meaning], role: str) -> bool:
    return len(meanings) == 1 and meanings[0].role == role


def _has(phrases: Sequence[tuple[Meaning, ...]], value: str) -> bool:
    return any(meaning.value == value for meanings in phrases for meaning in meanings)
