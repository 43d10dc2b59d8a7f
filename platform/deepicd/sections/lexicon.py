"""The words of section headers and what each of them means, read from a table.

In: `data/section_words.tsv` (role, meaning, phrases, reason). Out: phrase → meanings, the longest
phrase first. Decided here: a word may have several meanings ("final" is a title or a time); which
one counts is decided by the words around it, in `headers`. A new spelling is a change of the table.
"""

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib.resources import files
from typing import NamedTuple

TABLE = "data/section_words.tsv"
"""Where the table lies in the package."""

ROLES = ("topic", "adjective", "time", "filler", "source", "prose")
"""What a phrase does in a header; `prose` words say that a line is a sentence."""

_AROUND = (
    *("secretion", "small", "after", "ahead", "linking", "whole"),
    *("changed", "told", "elsewhere", "own", "item", "beneath"),
    *("found", "addressed", "asking", "apart", "treated"),
)
"""Words that name no topic: they decide whether a header is meant, and what becomes of it."""


_ARTICLES = frozenset(("the", "a", "an"))
"""Left out of headers and of the table alike."""


class Meaning(NamedTuple):
    """A role of a phrase, and its value: a topic, a time, what an adjective makes of history."""

    role: str
    value: str


class Lexicon(NamedTuple):
    """The table, laid out for look-up."""

    phrases: dict[str, list[tuple[tuple[str, ...], tuple[Meaning, ...]]]]
    """First word → phrases that begin with it, the longest first, with their meanings."""
    words: dict[str, frozenset[str]]
    """Role of `_AROUND` → its words."""


@cache
def load_lexicon() -> Lexicon:
    """The table, read once a process."""
    meanings: dict[str, list[Meaning]] = {}
    around: dict[str, frozenset[str]] = {}
    text = files("deepicd").joinpath(TABLE).read_text(encoding="utf-8")
    for line in text.splitlines()[1:]:
        role, value, phrases, _ = line.split("\t")
        names = [phrase.strip() for phrase in phrases.split("|")]
        if role in _AROUND:
            around[role] = frozenset(names)
            continue
        for name in names:
            meanings.setdefault(name, []).append(Meaning(role, value))
    by_first: dict[str, list[tuple[tuple[str, ...], tuple[Meaning, ...]]]] = {}
    for name, listed in meanings.items():
        # A phrase that is an article and nothing else would otherwise be empty.
        words = tuple(word for word in name.split() if word not in _ARTICLES) or (name,)
        by_first.setdefault(words[0], []).append((words, tuple(listed)))
    for entries in by_first.values():
        entries.sort(key=lambda entry: -len(entry[0]))
    return Lexicon(by_first, around)


_MIN_GLUED = 3
"""Letters of the shortest part of a word that lost its blanks ("DischargeExam")."""
_MIN_OF_THREE = 16


@lru_cache(maxsize=1 << 15)
def unglue(word: str) -> tuple[str, ...]:
    """The two or three known words that a word is made of; empty where it is not."""
    if word in load_lexicon().words["whole"]:
        return ()
    singles = _single_words()
    for end in range(_MIN_GLUED, len(word) - _MIN_GLUED + 1):
        if word[:end] in singles:
            rest: tuple[str, ...] = (word[end:],) if word[end:] in singles else ()
            # Three words are looked for in long words only: short ones fall apart by chance.
            if not rest and len(word) >= _MIN_OF_THREE:
                rest = unglue(word[end:])
            if rest:
                return word[:end], *rest
    return ()


@cache
def _single_words() -> frozenset[str]:
    entries = [entry for listed in load_lexicon().phrases.values() for entry in listed]
    return frozenset(words[0] for words, _ in entries if len(words) == 1)


_MIN_CORRECTED = 7
"""Letters of the shortest word whose misspelling is looked for."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@lru_cache(maxsize=1 << 15)
def correct(word: str) -> str:
    """The known word that differs by one slip (a letter more, less, other, or two exchanged)."""
    # Verbs lie one letter from nouns ("presented", "complained") and are no slips.
    if len(word) < _MIN_CORRECTED - 1 or word.endswith(("ed", "ing")):
        return ""
    if word in load_lexicon().words["whole"]:
        return ""
    # A slip shares all letters but one with its word, so nearly all words end here.
    near = _near_words()
    if word not in near and near.isdisjoint(_without_one(word)):
        return ""
    targets = _long_words()
    splits = [(word[:end], word[end:]) for end in range(1, len(word) + 1)]
    slips = (
        *(a + b[1:] for a, b in splits if b),
        *(a + b[1] + b[0] + b[2:] for a, b in splits if len(b) > 1),
        *(a + letter + b for a, b in splits for letter in _LETTERS),
        *(a + letter + b[1:] for a, b in splits for letter in _LETTERS if b),
    )
    return next((slip for slip in slips if slip in targets), "")


def _without_one(word: str) -> list[str]:
    """What is left of a word without any one of its letters."""
    return [word[:place] + word[place + 1 :] for place in range(len(word))]


@cache
def _near_words() -> frozenset[str]:
    return _long_words().union(*map(_without_one, _long_words()))


@cache
def _all_words() -> frozenset[str]:
    entries = load_lexicon().phrases.values()
    named = frozenset(word for listed in entries for words, _ in listed for word in words)
    return named | words_of_change()


@cache
def words_of_change() -> frozenset[str]:
    """Words of what the stay did to medication: "HELD", "START taking these"."""
    return load_lexicon().words["changed"] | load_lexicon().words["told"]


@cache
def _prose_words() -> frozenset[str]:
    return frozenset(
        words[0]
        for entries in load_lexicon().phrases.values()
        for words, meanings in entries
        if len(words) == 1 and any(meaning.role == "prose" for meaning in meanings)
    )


@cache
def _naming_words() -> frozenset[str]:
    """Words of topics and times; of phrases with other words, the ones that are no filler."""
    entries = [entry for listed in load_lexicon().phrases.values() for entry in listed]
    single = [(words[0], meanings[0].role) for words, meanings in entries if len(words) == 1]
    fillers = {word for word, role in single if role == "filler"}
    named: set[str] = set()
    for words, meanings in entries:
        if any(meaning.role in ("topic", "adjective", "time") for meaning in meanings):
            named.update(words if fillers.issuperset(words) else set(words) - fillers)
    return frozenset(named)


@lru_cache(maxsize=1 << 15)
def rank_word(word: str) -> int:
    """What a word, as it is written, may be in a header: 0 nothing, 1 filler, 2 topic or time."""
    if word.isdigit():
        return 2
    plain = word.lower().replace(".", "").strip("'-&/")
    if plain in words_of_change():
        return 2 if plain in load_lexicon().words["changed"] else 1
    # Before all others: "was" may stand in no header, whatever else it could mean.
    if plain in _prose_words():
        return 0
    if plain in _all_words() or plain in _ALIASES or plain in _ARTICLES:
        return 2 if plain in _naming_words() or plain in ("hx",) else 1
    # "CN2-12" and "A/P": each piece is looked up alone, and single letters are taken on trust.
    pieces = [piece.rstrip("0123456789") for piece in re.split(r"[/&-]", plain)]
    if len(pieces) > 1 or plain[-1:].isdigit():
        if fit_word(word) == FOREIGN:
            return 0
        is_known = all(len(piece) < 2 or rank_word(piece) for piece in pieces)
        return 2 if is_known or _all_words().issuperset(words_of(word)) else 0
    # In small letters only the discharge is worth it: there a slip would let the stay in.
    is_worth = word[:1].isupper() or word.startswith("d")
    return 2 if is_worth and (unglue(plain) or correct(plain)) else 0


@cache
def excused_prose() -> tuple[frozenset[str], re.Pattern[str]]:
    """Phrases of headers with a word that else only sentences have: "is as follows", "to do".

    The words that else only sentences have, and the phrases as a pattern.
    """
    entries = [entry for listed in load_lexicon().phrases.values() for entry in listed]
    # "Medications started" is listed too, but it is the beginning of a sentence as well.
    topics = {words[0] for words, meanings in entries if len(words) == 1 and _is_topic(meanings)}
    phrases = [
        words
        for words, _ in entries
        if len(words) > 1 and _prose_words() & set(words) and words[0] not in topics
    ]
    spelled = "|".join(re.escape(" ".join(words)) for words in phrases)
    excused = _prose_words() & {word for words in phrases for word in words}
    return excused, re.compile(rf"\b(?:{spelled})\b", re.IGNORECASE)


def _is_topic(meanings: Iterable[Meaning]) -> bool:
    return any(meaning.role == "topic" for meaning in meanings)


FOREIGN, FITTING, FREEING = range(3)
"""A word that no header holds, one that a header may hold, one that frees the words behind it."""
_SOURCES = frozenset(("per", "by", "from", "according", "courtesy"))
"""Each phrase of the role `source` has one of these."""


@lru_cache(maxsize=1 << 15)
def fit_word(word: str) -> int:
    """What is known of a word without the words around it: whether a header may hold it."""
    words = words_of(word)
    if not _SOURCES.isdisjoint(words):
        return FREEING
    known = _all_words()
    # Letters that stand alone may be joined with others ("A / P"), and numbers say nothing.
    is_fitting = all(len(one) < 2 or one[0].isdigit() or one in known for one in words)
    return FITTING if is_fitting else FOREIGN


@cache
def _long_words() -> frozenset[str]:
    """Long words of topics and times: the ones whose misspelling would let something through."""
    return frozenset(
        word
        for entries in load_lexicon().phrases.values()
        for words, meanings in entries
        for word in words
        if len(word) >= _MIN_CORRECTED
        and any(meaning.role in ("topic", "time") for meaning in meanings)
    )


_PLURAL = re.compile(r"\((?:e?s)\b\)?")
_JOINED = re.compile(r"\b([a-z]) ?[/&] ?([a-z])\b")
_DOTTED = re.compile(r"\b(?:[a-z]\.){1,5}[a-z]\b\.?|\b(?:[a-z]\.){2,6}")
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?\d?|\d+|[/&+,]")
_ALIASES = {"hx": "history", "pt's": "patient's", "&": "and", "+": "and", "/": "and", ",": "and"}


def words_of(phrase: str) -> list[str]:
    """Words of a header in lower case; `d/c` and `d.c.` are `dc`, marks between topics `and`."""
    text = phrase.lower()
    # Most phrases have none of these marks, and looking for a mark is quicker than for a pattern.
    if "(" in text:
        text = _PLURAL.sub("s", text)
    if "/" in text or "&" in text:
        text = _JOINED.sub(r"\1\2", text)
    if "." in text:
        text = _DOTTED.sub(lambda match: match[0].replace(".", ""), text)
    words: list[str] = []
    for word in _WORD.findall(text):
        if word in _ARTICLES:
            continue
        named = _ALIASES.get(word, word)
        # Most words are whole, and taking one apart tries every place of the lost blank.
        is_whole = len(named) < 2 * _MIN_GLUED or named in _all_words() or named.isdigit()
        halves = (named,) if is_whole else unglue(named)
        words.extend(halves or (correct(named) or named,))
    return words
