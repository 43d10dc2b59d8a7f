"""The code table: which code exists, and is billable, in which fiscal year.

The file `deepicd/data/icd10cm.tsv.xz` is read at the first look-up (0.15 s, 30 MB) and kept.
"""

import lzma
from functools import cache
from importlib import resources
from io import TextIOWrapper
from typing import NamedTuple

from deepicd.errors import CodeError

RELEASES = (2016, 2019, 2020, 2021, 2022, 2023, 2024, 2025, 2026)
"""Fiscal years in the table, oldest first."""

CHAPTERS = (
    *("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI"),
    *("XII", "XIII", "XIV", "XV", "XVI", "XVII", "XVIII", "XIX", "XX", "XXI", "XXII"),
)
"""Chapters as roman numerals, in order."""

MAX_LENGTH = 7
"""Characters of the longest code, without dot."""

# ASCII only, unlike str.upper, which also folds letters such as the dotless i into an I.
_FOLD = str.maketrans("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", ". \t\n\r\f\v")
_ALL = (1 << len(RELEASES)) - 1


class Table(NamedTuple):
    """The file in memory."""

    masks: dict[str, int]
    """Code → bits 0 to 8 exists, bits 9 to 17 billable, one bit a release; sorted by code."""
    codes: list[str]
    """All codes, sorted."""
    block_of: dict[str, str]
    """Category → block."""
    chapter_of: dict[str, str]
    """Block → chapter."""
    titles: dict[str, str]
    """Code, block or chapter → title."""


@cache
def load_table() -> Table:
    """The table, read once a process."""
    table = Table({}, [], {}, {}, {})
    chapter = block = ""
    packed = resources.files("deepicd").joinpath("data/icd10cm.tsv.xz")
    with packed.open("rb") as file, TextIOWrapper(lzma.open(file), encoding="utf-8") as lines:
        for line in lines:
            name, _, rest = line[:-1].partition("\t")
            if name[0] == "=":  # a chapter; "-" begins a block, anything else is a code
                chapter = name[1:]
                table.titles[chapter] = rest
            elif name[0] == "-":
                block = name[1:]
                table.titles[block] = rest
                table.chapter_of[block] = chapter
            else:
                mask, _, table.titles[name] = rest.partition("\t")
                table.masks[name] = int(mask, 16)
                if len(name) == 3:
                    table.block_of[name] = block
    table.codes.extend(sorted(table.masks))
    return table


def normalise(text: str) -> str:
    """Canonical spelling: ASCII upper case, dots and ASCII blanks removed; nothing is checked."""
    return text.translate(_FOLD)


def dotted(code: str) -> str:
    """`I2510` → `I25.10`; a category stays as it is."""
    code = normalise(code)
    return f"{code[:3]}.{code[3:]}" if len(code) > 3 else code


def exists(code: str, release: int | None = None) -> bool:
    """Whether a code (billable or a header such as `I25`) is in a release, or in any release when
    None.

    Raises:
        CodeError: `release` is not in the table.
    """
    return bool(load_table().masks.get(normalise(code), 0) & _release_bits(release))


def is_billable(code: str, release: int | None = None) -> bool:
    """Whether a code may be given as a diagnosis in a release, or in any release when None.

    Raises:
        CodeError: `release` is not in the table.
    """
    return bool(
        load_table().masks.get(normalise(code), 0) >> len(RELEASES) & _release_bits(release)
    )


def releases(code: str) -> tuple[int, ...]:
    """Fiscal years in which a code exists (billable or header), oldest first; () for no code."""
    return _years(load_table().masks.get(normalise(code), 0))


def billable_releases(code: str) -> tuple[int, ...]:
    """Fiscal years in which a code is billable, oldest first; () for a header or no code."""
    return _years(load_table().masks.get(normalise(code), 0) >> len(RELEASES))


def billable_codes(release: int | None = None) -> tuple[str, ...]:
    """Every billable code of a release (of any release when None), sorted.

    Raises:
        CodeError: `release` is not in the table.
    """
    bits = _release_bits(release) << len(RELEASES)  # the upper bits of a mask say billable
    masks = load_table().masks
    return tuple(code for code in load_table().codes if masks[code] & bits)


def title(code: str) -> str:
    """Official title of a code, block or chapter, from the newest release that has it.

    Raises:
        CodeError: no such node.
    """
    return load_table().titles[require_node(code)]


def require(code: str) -> str:
    """Canonical code that exists.

    Raises:
        CodeError: it does not.
    """
    canonical = normalise(code)
    if canonical not in load_table().masks:
        raise CodeError(
            f"not an ICD-10-CM code of any release from FY{RELEASES[0]} to FY{RELEASES[-1]}:"
            f" {code[:32]!r}; give a code such as I25.10"
        )
    return canonical


def require_node(node: str) -> str:
    """Canonical code, block or chapter that exists.

    Raises:
        CodeError: it does not.
    """
    canonical = normalise(node)
    return canonical if canonical in load_table().titles else require(node)


def _years(bits: int) -> tuple[int, ...]:
    return tuple(year for index, year in enumerate(RELEASES) if bits >> index & 1)


def _release_bits(release: int | None) -> int:
    if release is None:
        return _ALL
    if release not in RELEASES:
        raise CodeError(
            f"no table of fiscal year {release!r}; known: {', '.join(map(str, RELEASES))}"
        )
    return 1 << RELEASES.index(release)
