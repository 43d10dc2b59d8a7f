"""What a reasoning takes from its note: wordings, numbers, runs of words copied.

In: two texts. Out: counts and shares. Decided here: a word is a run of letters and digits in lower
case. A span is a longest run of words of the reasoning that stands in the note in the same order;
it counts when it holds a word of three letters or more that is not common to all notes. Pure.
"""

import re
from collections.abc import Collection, Sequence

from deepicd.rewards.reasoning import COMMON_WORDS

_WORD = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_RUN_WORDS = 8
"""Words of a run that is copied rather than named; as in `rewards.reasoning`."""
_MIN_LETTERS = 3


def words_of(text: str) -> list[str]:
    """Words of a text in lower case."""
    return _WORD.findall(text.lower())


def note_spans(text: str, note: str) -> set[str]:
    """Different spans of the note that the text takes up, each as its telling words."""
    words, known = words_of(text), words_of(note)
    places = {word: [at for at, each in enumerate(known) if each == word] for word in set(words)}
    found, start = set(), 0
    while start < len(words):
        length = _longest_run(words[start:], known, places[words[start]])
        told = [word for word in words[start : start + length] if _is_telling(word)]
        found |= {" ".join(told)} if told else set()
        start += max(1, length)
    return found


def unknown_numbers(text: str, sources: Collection[str]) -> set[str]:
    """Numbers of a text that none of the sources has; `1,200` is 1200 and `7.0` is 7."""
    known = {number for source in sources for number in _numbers(source)}
    return _numbers(text) - known


def share_copied(text: str, note: str) -> float:
    """Share of a text's runs of eight words that stand in the note, in [0, 1]."""
    runs = _runs(words_of(text), _RUN_WORDS)
    copied = set(_runs(words_of(note), _RUN_WORDS))
    return sum(run in copied for run in runs) / len(runs) if runs else 0.0


def share_distinct(text: str) -> float:
    """Share of a text's runs of three words that differ, in [0, 1]; 1 where there is none."""
    runs = _runs(words_of(text), 3)
    return len(set(runs)) / len(runs) if runs else 1.0


def _longest_run(words: Sequence[str], known: Sequence[str], places: Sequence[int]) -> int:
    """Length of the longest beginning of `words` that stands in `known` at one of the places."""
    return max((_shared_length(words, known, place) for place in places), default=0)


def _shared_length(words: Sequence[str], known: Sequence[str], place: int) -> int:
    length = 0
    while (
        length < len(words)
        and place + length < len(known)
        and words[length] == known[place + length]
    ):
        length += 1
    return length


def _is_telling(word: str) -> bool:
    return len(word) >= _MIN_LETTERS and not word.isdigit() and word not in COMMON_WORDS


def _numbers(text: str) -> set[str]:
    return {_plain_number(number) for number in _NUMBER.findall(text)}


def _plain_number(number: str) -> str:
    whole, _, fraction = number.replace(",", "").partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole.lstrip('0') or '0'}{'.' if fraction else ''}{fraction}"


def _runs(words: Sequence[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + length]) for at in range(len(words) - length + 1)]
