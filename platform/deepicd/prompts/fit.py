"""Shortens an over-long note: which words stay, by the importance of their section.

In: the text of a note, a function that counts tokens, a budget. Out: the text with fewer words.
Decided here: words are kept by the importance of their section and within a section from its
beginning, until the budget is spent. Chief complaint comes first, social history last, text of no
kept section after the exam. Which section a word belongs to is said by the grammar that cut the
notes (`deepicd.sections`), so a note with a hospital's own headers loses the same words. Sections
keep the order of the note, and a header stays as long as one of its words does. A note that fits is
never touched. Pure, deterministic.
"""

import re
from collections.abc import Callable, Sequence
from itertools import accumulate

from deepicd.sections import Segment, split_sections

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

_WORD = re.compile(r"\s*\S+")


def fit_note(text: str, count_tokens: _CountTokens, max_tokens: int) -> str:
    """The note with as many words as `max_tokens` hold; empty when not one fits.

    `max_tokens` is what is left for the note's own text once the rest of the prompt is counted.
    """
    sections = split_sections(text)
    words = [
        (SECTION_PRIORITY.index(segment.section), number, word)
        for number, segment in enumerate(sections)
        for word in _WORD.findall(segment.text)
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


def _join(sections: Sequence[Segment], words: Sequence[tuple[int, int, str]]) -> str:
    """The kept words, section by section; a header without a word after it is dropped."""
    kept: dict[int, list[str]] = {}
    for _, number, word in words:
        kept.setdefault(number, []).append(word)
    texts = []
    for number, segment in enumerate(sections):
        text = "".join(kept.get(number, [])).strip()
        if text and not segment.header.strip().startswith(text):  # a header, or a half of one
            texts.append(text)
    return "\n".join(texts)
