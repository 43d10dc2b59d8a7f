"""Whether a line is text and holds no header, told at little cost: most lines of a note.

In: the shape of a line. Out: whether a look for headers would find none. Decided here: the first
words settle it, because a header has none that only sentences have. Pure.
"""

import re
from collections.abc import Sequence, Set
from functools import lru_cache

from deepicd.sections.header_match import LATE_WORD, MAX_HEADER, TWO_CAPITALS, WORD
from deepicd.sections.lexicon import rank_word

MAX_CAPTION = 61
"""Characters of the longest line that is a header with unknown words; a colon stands before it."""
_LONGER_THAN_MARK = 7
"""Characters of a word that is longer than the mark of a list ("viii.")."""
_NOT_PROSE = re.compile(r"[:\t(\[]")
_MARKS = ",.;()[]\"'*_#"


def find_headed(shapes: Sequence[str], late: Set[int]) -> list[int]:
    """Numbers of the lines that may hold a header: neither blank nor plain.

    `late`: what `find_late_lines` found. Nearly all lines of prose are settled by the looks that
    stand here, without a call.
    """
    return [
        number
        for number, line in enumerate(shapes)
        if not (
            ":" not in line
            and _begins_text(line.partition(" ")[0])
            and number not in late
            and line[1:].islower()
            and line[-1] != "?"
        )
        and line
        and not line.isspace()
        and not is_plain(line, number in late)
    ]


def is_plain(line: str, may_be_late: bool) -> bool:
    """Whether a line is text without any header, told at little cost: most lines.

    `may_be_late`: whether `find_late_lines` found it.
    """
    if ":" in line or not line[:1].isalpha() or line.endswith("?"):
        return False
    # Small letters alone hold no two capitals, and asking for these is the slower look.
    is_low = line[1:].islower()
    if not is_low and TWO_CAPITALS.search(line):
        return False
    if may_be_late and LATE_WORD.search(line):
        return False
    # The look of `is_text` without the colon, which is not there.
    if _begins_text(line.partition(" ")[0]) and (is_low or not line[:MAX_CAPTION].isupper()):
        return True
    return begins_prose(line)


def is_text(line: str) -> bool:
    """Whether the first word of a line settles that no header opens it: most text."""
    if not _begins_text(line.partition(" ")[0]):
        return False
    # What begins with a small letter is not even counted as an unknown header.
    if not line[0].isupper():
        return True
    return ":" not in (head := line[:MAX_CAPTION]) and not head.isupper()


@lru_cache(maxsize=1 << 15)
def _begins_text(word: str) -> bool:
    """Whether a line that begins with a word begins with no header and no mark of a list."""
    first = WORD.match(word[:MAX_HEADER])
    is_mark = word.endswith((".", ")")) and len(word) < _LONGER_THAN_MARK
    # Letters that stand apart ("E X A M") may be a header together.
    return bool(first and len(word) > 1 and not is_mark and not rank_word(first[0]))


def begins_prose(line: str) -> bool:
    """Whether a line begins with words that no header has, told at little cost."""
    if not line[0].isalpha() or line.isupper():
        return False
    if (has_brackets(line) or ":" in line or "\t" in line) and _NOT_PROSE.search(
        line, 0, MAX_HEADER
    ):
        return False
    is_title = False
    for number, word in enumerate(line[:MAX_HEADER].split(" ", 8)[:8]):
        look = _look_of(word)
        # The first word that no header has settles it, unless what stood before may be a title in
        # front of its text ("Chest Pain patient with …").
        if look == _UNKNOWN:
            return not is_title and word[0].isalpha()
        is_title |= look == _MARKED or (look == _HIGH and number > 0)
    return False


_UNKNOWN, _LOW, _HIGH, _MARKED = range(4)
"""A word that no header has; known ones: in small letters, with a capital, with marks."""


@lru_cache(maxsize=1 << 15)
def _look_of(word: str) -> int:
    plain = word.strip(_MARKS)
    if word and not rank_word(plain):
        return _UNKNOWN
    if plain != word or not word or "/" in word:
        return _MARKED
    return _HIGH if word[0].isupper() else _LOW


def has_brackets(line: str) -> bool:
    """Whether a line holds a bracket, whose words may be unknown."""
    return "(" in line or "[" in line
