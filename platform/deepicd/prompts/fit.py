"""Shortens an over-long note: which words stay, by the importance of their section.

In: the text of a note, a function that counts tokens, a budget. Out: the text with fewer words.
Decided here: words are kept by the importance of their section (chief complaint first, social
history last; text under no known header comes after the histories) and within a section from its
beginning, until the budget is spent; sections keep the order of the note, and a header stays as
long as one of its words does. A note that fits is never touched. Pure, deterministic.
"""

import re
from collections.abc import Callable, Sequence
from itertools import accumulate

SECTION_PRIORITY = (
    "CHIEF COMPLAINT",
    "PRESENT ILLNESS",
    "MEDICAL HISTORY",
    "PHYSICAL EXAM",
    "",
    "MEDICATION ON ADMISSION",
    "ALLERGIES",
    "FAMILY HISTORY",
    "SOCIAL HISTORY",
)
"""Headers of an admission note, the most important first; "" is text under none of them."""

_CountTokens = Callable[[Sequence[str]], Sequence[int]]
"""Texts → number of tokens of each."""

_HEADER = re.compile(
    rf"^({'|'.join(re.escape(name) for name in SECTION_PRIORITY if name)}):", re.MULTILINE
)
_WORD = re.compile(r"\s*\S+")


def fit_note(text: str, count_tokens: _CountTokens, max_tokens: int) -> str:
    """The note with as many words as `max_tokens` hold; empty when not one fits.

    `max_tokens` is what is left for the note's own text once the rest of the prompt is counted.
    """
    sections = _split(text)
    words = [
        (SECTION_PRIORITY.index(name), number, word)
        for number, (name, body) in enumerate(sections)
        for word in _WORD.findall(body)
    ]
    words.sort(key=lambda word: word[0])  # stable: the note's order within a section
    costs = count_tokens([word for _, _, word in words])
    spent = list(accumulate(costs))
    num_kept = sum(1 for total in spent if total <= max_tokens)
    # Words joined again may have more tokens than one by one: words are dropped until the whole
    # fits. No word has more tokens than the longest one, so at least this many must go.
    while num_kept:
        kept = _join(sections, words[:num_kept])
        surplus = count_tokens([kept])[0] - max_tokens
        if surplus <= 0:
            return kept
        num_kept -= max(1, surplus // max(costs[:num_kept]))
    return ""


def _split(text: str) -> list[tuple[str, str]]:
    """(header or "", text with the header) in the order of the note; joined they are the note."""
    starts = [(match.start(), match.group(1)) for match in _HEADER.finditer(text)]
    if not starts or starts[0][0] > 0:
        starts.insert(0, (0, ""))
    ends = [start for start, _ in starts[1:]] + [len(text)]
    return [(name, text[start:end]) for (start, name), end in zip(starts, ends, strict=True)]


def _join(sections: Sequence[tuple[str, str]], words: Sequence[tuple[int, int, str]]) -> str:
    """The kept words, section by section; a header without a word after it is dropped."""
    kept: dict[int, list[str]] = {}
    for _, number, word in words:
        kept.setdefault(number, []).append(word)
    texts = []
    for number, (name, _) in enumerate(sections):
        text = "".join(kept.get(number, [])).strip()
        if text and not (name and f"{name}:".startswith(text)):  # a header, or a half of one
            texts.append(text)
    return "\n".join(texts)
