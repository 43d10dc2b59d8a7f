"""Places in a note that the model's reasoning repeats word for word.

In: the reasoning and the note as it was sent. Out: spans of the note. Decided here: only words that
stand in the note in the same order count, case and white space aside, at least `_MIN_WORDS` of them
with one of `_MIN_LETTERS` letters; what is not in the note is never given as evidence. A span says
where the words stand, not that they made the model decide.
"""

import re
from collections import defaultdict
from dataclasses import dataclass

_MIN_WORDS, _MIN_LETTERS = 2, 4
_MAX_PLACES = 200
"""Places of a word in the note that are looked at: a note may be one word a million times."""
_WORD = re.compile(r"\w+(?:[-'./]\w+)*")


@dataclass(frozen=True)
class _Word:
    """One word of a text, compared by its lower case."""

    text: str
    start: int
    end: int


def find_evidence(reasoning: str, note: str) -> list[tuple[int, int]]:
    """Spans [start, end) of the note, in characters, in order and without overlap."""
    said, written = _split_words(reasoning), _split_words(note)
    places = defaultdict(list)
    for index, word in enumerate(written):
        places[word.text].append(index)
    spans, index = [], 0
    while index < len(said):
        starts = places[said[index].text][:_MAX_PLACES]
        # Minus the place, so that of equally long runs `max` takes the first in the note.
        runs = ((_run_length(said, written, at=(index, start)), -start) for start in starts)
        length, start = max(runs, default=(0, 0))
        run = written[-start : length - start]
        if is_informative(run):
            spans.append((run[0].start, run[-1].end))
        index += max(1, length)
    return _merge(spans)


def _split_words(text: str) -> list[_Word]:
    """Words with their places."""
    return [_Word(m.group().lower(), m.start(), m.end()) for m in _WORD.finditer(text)]


def _run_length(said: list[_Word], written: list[_Word], *, at: tuple[int, int]) -> int:
    """How many words of both are the same from their places on."""
    first, second = at
    most = min(len(said) - first, len(written) - second)
    differ = (n for n in range(most) if said[first + n].text != written[second + n].text)
    return next(differ, most)


def is_informative(run: list[_Word]) -> bool:
    """Whether a run of words is long enough not to be a coincidence."""
    return len(run) >= _MIN_WORDS and any(len(word.text) >= _MIN_LETTERS for word in run)


def _merge(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same characters in as few spans as possible, in order."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
