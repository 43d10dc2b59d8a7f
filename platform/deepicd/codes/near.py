"""A text that is no code → the codes, block or chapter that may be meant.

In: what somebody typed. Out: existing nodes, the likeliest first, or the node that a range names.
Decided here, in this order: the placeholders `X` in front of a seventh character are forgotten or
too many (`W21.89A`, `T07.XXXXD`); the seventh character is missing (`T07`); a letter stands for a
digit (`I25.1O`); the longest beginning that is a code, and what is below it. A range of categories
may be a block, or a whole chapter (`A00-B99`).
"""

import re
from collections.abc import Iterator
from itertools import islice

from deepicd.codes.table import MAX_LENGTH, load_table, normalise
from deepicd.codes.tree import codes_below

_NUM_NEAR = 4
_RANGE = re.compile(r"([A-Z]\w\w)-([A-Z]\w\w)")
_DIGITS = str.maketrans({"O": "0", "I": "1", "L": "1", "Z": "2", "S": "5", "B": "8"})
_LONGEST = 16
"""A longer text is no misspelt code."""


def find_node(text: str) -> str | None:
    """Canonical code, block or chapter that a text names; None for none.

    A chapter may be named by its numeral or by its range.
    """
    node = normalise(text).replace("\N{EN DASH}", "-")
    if node in load_table().titles:
        return node
    named = _RANGE.fullmatch(node)
    return _chapter_ranges().get(node) if named else None


def near_codes(text: str) -> tuple[str, ...]:
    """Existing codes near a text that is none, the likeliest first; empty where nothing is near."""
    code = normalise(text)
    if not 3 <= len(code) <= _LONGEST or not code.isalnum():
        return ()
    masks = load_table().masks
    found = dict.fromkeys(one for one in _candidates(code) if one in masks and one != code)
    return tuple(islice(found, _NUM_NEAR))


def _candidates(code: str) -> Iterator[str]:
    stem, last = code[:3] + code[3:-1].replace("X", ""), code[-1]
    if len(code) > 3:
        yield stem.ljust(MAX_LENGTH - 1, "X") + last
    yield from (code[: MAX_LENGTH - 1].ljust(MAX_LENGTH - 1, "X") + seventh for seventh in "ADS")
    yield code[0] + code[1:].translate(_DIGITS)
    for end in range(len(code) - 1, 2, -1):
        if code[:end] in load_table().masks:
            yield code[:end]
            yield from islice(codes_below(code[:end]), _NUM_NEAR)
            return


def _chapter_ranges() -> dict[str, str]:
    """From the beginning of a chapter's first block to the end of its last one → its numeral."""
    ends: dict[str, list[str]] = {}
    for block, chapter in load_table().chapter_of.items():
        ends.setdefault(chapter, []).extend(block.split("-"))
    return {f"{min(names)}-{max(names)}": chapter for chapter, names in ends.items()}
