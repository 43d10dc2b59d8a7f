"""A text that is no code → the codes, block or chapter that may be meant.

In: what somebody typed. Out: the node that it names in another notation, or existing nodes near it,
the likeliest first. Decided here: a block or chapter may be written with any dash, `to`, a short
second end (`M50-54`), a numeral or a number; a trailing dash (`I25.1-`) means the node above. What
is near, in this order: the placeholders `X` in front of a seventh character are forgotten or too
many (`W21.89A`, `T07.XXXXD`); the seventh character is missing (`T07`); a letter stands for a digit
or a digit for the letter (`I25.1O`, `125.10`); one character is too many, or two are swapped; the
longest beginning that is a code, and what is below it. Of a range that is none: the blocks and the
chapter that its ends lie in.
"""

import re
import unicodedata
from collections.abc import Iterator
from itertools import islice

from deepicd.codes.table import CHAPTERS, MAX_LENGTH, load_table, normalise
from deepicd.codes.tree import codes_below

_NUM_NEAR = 4
_RANGE = re.compile(r"([A-Z]\w\w)(?:-+|TO|THROUGH)?([A-Z]?\w\w)", re.ASCII)
_CHAPTER = re.compile(r"(?:CHAPTER|BLOCK|CH)?[:-]?(.+)")
_IN_TEXT = re.compile(r"(?<!\w)[A-Z]\d\w(?:\.?\w{1,4})?(?!\w)", re.ASCII)
_DIGITS = str.maketrans({"O": "0", "I": "1", "L": "1", "Z": "2", "S": "5", "B": "8"})
_LETTERS = {"0": "O", "1": "I", "2": "Z", "5": "S", "8": "B", "L": "I"}
"""What the first character may be meant for."""
_LONGEST = 16
"""A longer text is no misspelt code."""
_LONGEST_TEXT = 64
"""A longer text is not looked through for a code."""


def find_node(text: str) -> str | None:
    """Canonical code, block or chapter that a text names; None for none.

    A chapter may be named by its numeral, its number or its range.
    """
    node = _spell(text)
    titles = load_table().titles
    if node in titles:
        return node
    if node.endswith("-") and node.rstrip("-") in load_table().masks:
        return node.rstrip("-")
    named = _CHAPTER.fullmatch(node)
    name = named[1] if named else node
    if name.isascii() and name.isdigit() and 1 <= int(name[:4]) <= len(CHAPTERS):
        return CHAPTERS[int(name) - 1] if len(name) <= 2 else None
    ends = _read_range(name)
    spelt = "-".join(ends) if ends else name
    return spelt if spelt in titles else _chapter_ranges().get(spelt)


def near_codes(text: str) -> tuple[str, ...]:
    """Existing nodes near a text that is none, the likeliest first; empty where nothing is near."""
    code = _spell(text)
    if near := _near_range(code):
        return near
    within = _named_within(text)
    bare = re.sub(r"[^A-Z0-9]", "", code)
    if len(within) > 1 or not 3 <= len(bare) <= _LONGEST:
        return within
    rules = (_respelt, _mistyped)
    return next(filter(None, (_existing(rule(bare), code) for rule in rules)), within)


def _spell(text: str) -> str:
    """Wide letters as narrow ones, any dash as a hyphen, without what is not seen."""
    if len(text) > _LONGEST_TEXT:
        return normalise(text)
    plain = unicodedata.normalize("NFKC", text)
    shown = (letter for letter in plain if unicodedata.category(letter) != "Cf")
    return normalise("".join("-" if unicodedata.category(c) == "Pd" else c for c in shown))


def _existing(candidates: Iterator[str], code: str) -> tuple[str, ...]:
    masks = load_table().masks
    found = dict.fromkeys(one for one in candidates if one in masks and one != code)
    return tuple(islice(found, _NUM_NEAR))


def _named_within(text: str) -> tuple[str, ...]:
    """Codes that stand in a text of several words."""
    words = _IN_TEXT.findall(text.upper()) if len(text) <= _LONGEST_TEXT else []
    return _existing(map(normalise, words), "")


def _respelt(code: str) -> Iterator[str]:
    """The code itself without other signs, its placeholders, its letters; what is above, below."""
    stem, last = code[:3] + code[3:-1].replace("X", ""), code[-1]
    yield code
    if len(code) > 3:
        yield stem.ljust(MAX_LENGTH - 1, "X") + last
    yield from (code[: MAX_LENGTH - 1].ljust(MAX_LENGTH - 1, "X") + seventh for seventh in "ADS")
    digits = code[1:].translate(_DIGITS)
    yield code[0] + digits
    yield _LETTERS.get(code[0], code[0]) + digits
    above = next(_beginnings(code), "")
    # A beginning that leaves more away may be that of another code.
    if len(above) > len(code) - 2 or not code[3:-1].strip("X"):
        yield from _with_below(above)


def _mistyped(code: str) -> Iterator[str]:
    """Two characters swapped, one too many; then the longest beginning."""
    yield from (code[:i] + code[i + 1] + code[i] + code[i + 2 :] for i in range(len(code) - 1))
    yield from (code[:i] + code[i + 1 :] for i in range(len(code) - 1))
    yield from _with_below(next(_beginnings(code), ""))


def _beginnings(code: str) -> Iterator[str]:
    masks = load_table().masks
    return (code[:end] for end in range(len(code) - 1, 2, -1) if code[:end] in masks)


def _with_below(code: str) -> Iterator[str]:
    if code:
        yield code
        yield from islice(codes_below(code), _NUM_NEAR)


def _read_range(text: str) -> tuple[str, str] | None:
    """Both categories of a range."""
    found = _RANGE.fullmatch(text)
    if not found:
        return None
    first, last = found.groups()
    return first, last if len(last) == 3 else first[0] + last


def _near_range(text: str) -> tuple[str, ...]:
    """Blocks that the ends of a range lie in, and the chapter of its beginning."""
    ends = _read_range(text) if "-" in text or "TO" in text else None
    if ends and ends[0] > ends[1]:
        return ()
    table = load_table()
    blocks = [name for end in ends or () for name in table.chapter_of if _holds(name, end)]
    chapters = [table.chapter_of[name] for name in blocks[:1]]
    return tuple(dict.fromkeys([*blocks, *chapters]))


def _holds(block: str, category: str) -> bool:
    first, _, last = block.partition("-")
    return first <= category <= last


def _chapter_ranges() -> dict[str, str]:
    """From the beginning of a chapter's first block to the end of its last one → its numeral."""
    ends: dict[str, list[str]] = {}
    for block, chapter in load_table().chapter_of.items():
        ends.setdefault(chapter, []).extend(block.split("-"))
    return {f"{min(names)}-{max(names)}": chapter for chapter, names in ends.items()}
