"""The ICD-10-CM tree: what exists in which release, and where it hangs.

In: codes as text, in any case, with or without dot. Out: canonical codes (`I2510`), ancestors,
titles, releases. The tree is the union of the releases FY2016 and FY2019 to FY2026
(`data/icd10cm.tsv.xz`, built by `scripts/build_code_table.py`), so a retired code keeps its place
and shares its path with the codes that replaced it.

Decided here: a node's parent is its longest proper prefix that is a code of any release
(placeholders `X` are not nodes: `S0262XA` hangs below `S0262`); a category hangs below its block, a
block below its chapter. A block is named by its first and last category even where they are the
same (`B20-B20`), a chapter by its roman numeral. Fiscal years start on 1 October of the year
before. Source: ICD-10-CM, NCHS and CMS.
"""

import lzma
from bisect import bisect_left
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

_FOLD = str.maketrans("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", ". \t\n\r\f\v")
_ALL = (1 << len(RELEASES)) - 1


class _Table(NamedTuple):
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
def _table() -> _Table:
    table = _Table({}, [], {}, {}, {})
    chapter = block = ""
    packed = resources.files("deepicd").joinpath("data/icd10cm.tsv.xz")
    with packed.open("rb") as file, TextIOWrapper(lzma.open(file), encoding="utf-8") as lines:
        for line in lines:
            name, _, rest = line[:-1].partition("\t")
            if name[0] == "=":
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


_paths: dict[str, tuple[str, ...]] = {}


def normalise(text: str) -> str:
    """Canonical spelling: ASCII letters in upper case, dots and ASCII blanks removed; nothing is
    validated."""
    return text.translate(_FOLD)


def parse(text: str, release: int | None = None) -> str:
    """Canonical form of a billable code, checked.

    Raises:
        CodeError: no such billable code in the release (in any release when None), or an unknown
            release; names the code's last release and successors where it was retired.
    """
    code = normalise(text)
    if is_billable(code, release):
        return code
    place = "any release" if release is None else f"FY{release}"
    raise CodeError(f"not a billable ICD-10-CM code of {place}: {text[:32]!r}{_advise(code)}")


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
    return bool(_table().masks.get(normalise(code), 0) & _release_bits(release))


def is_billable(code: str, release: int | None = None) -> bool:
    """Whether a code may be given as a diagnosis in a release, or in any release when None.

    Raises:
        CodeError: `release` is not in the table.
    """
    return bool(_table().masks.get(normalise(code), 0) >> len(RELEASES) & _release_bits(release))


def releases(code: str) -> tuple[int, ...]:
    """Fiscal years in which a code exists (billable or header), oldest first; empty for an unknown
    code."""
    return _years(_table().masks.get(normalise(code), 0))


def billable_releases(code: str) -> tuple[int, ...]:
    """Fiscal years in which a code is billable, oldest first; empty for a header or an unknown
    code."""
    return _years(_table().masks.get(normalise(code), 0) >> len(RELEASES))


def billable_codes(release: int | None = None) -> tuple[str, ...]:
    """Every billable code of a release (of any release when None), sorted.

    Raises:
        CodeError: `release` is not in the table.
    """
    bits = _release_bits(release) << len(RELEASES)
    masks = _table().masks
    return tuple(code for code in _table().codes if masks[code] & bits)


def title(code: str) -> str:
    """Official title of a code, block or chapter, from the newest release that has it.

    Raises:
        CodeError: no such node.
    """
    return _table().titles[_require_node(code)]


def category(code: str) -> str:
    """Category (three characters) of a code: `I2510` → `I25`.

    Raises:
        CodeError: the code does not exist.
    """
    return _require(code)[:3]


def block(code: str) -> str:
    """Block of a code: `I2510` → `I20-I25`; of a block with one category: `B20` → `B20-B20`.

    Raises:
        CodeError: the code does not exist.
    """
    return _table().block_of[_require(code)[:3]]


def chapter(code: str) -> str:
    """Chapter of a code as a roman numeral: `I2510` → `IX`.

    Raises:
        CodeError: the code does not exist.
    """
    return _table().chapter_of[block(code)]


def chapter_title(code: str) -> str:
    """Title of the chapter of a code.

    Raises:
        CodeError: the code does not exist.
    """
    return _table().titles[chapter(code)]


def ancestors(code: str) -> tuple[str, ...]:
    """What lies above a code, nearest first: subcategories, category, block, chapter.

    `I2510` → `("I251", "I25", "I20-I25", "IX")`. Blocks and chapters are not codes and have no
    ancestors here; see `parent`.

    Raises:
        CodeError: the code does not exist.
    """
    return path(code)[-2::-1]


def path(code: str) -> tuple[str, ...]:
    """From the chapter down to the code itself: `I2510` → `("IX", "I20-I25", "I25", "I251",
    "I2510")`.

    Raises:
        CodeError: the code does not exist.
    """
    found = _paths.get(code)
    if found is None:
        code = _require(code)
        found = _paths[code] = _build_path(code)
    return found


def parent(node: str) -> str | None:
    """Node directly above a code, block or chapter; None for a chapter.

    Raises:
        CodeError: no such node.
    """
    node = _require_node(node)
    if node in _table().masks:
        return path(node)[-2]
    return _table().chapter_of.get(node)


def children(node: str) -> tuple[str, ...]:
    """Nodes directly below a code, block or chapter, in tree order (all releases).

    Raises:
        CodeError: no such node.
    """
    node = _require_node(node)
    table = _table()
    if node in table.masks:
        return tuple(code for code in _below(node) if path(code)[-2] == node)
    if node in table.chapter_of:
        return tuple(code for code, name in table.block_of.items() if name == node)
    return tuple(name for name, numeral in table.chapter_of.items() if numeral == node)


def descendants(code: str) -> tuple[str, ...]:
    """Every code below a code, sorted (all releases).

    Raises:
        CodeError: the code does not exist.
    """
    return tuple(_below(_require(code)))


def siblings(code: str) -> tuple[str, ...]:
    """The other nodes below the parent of a code, in tree order.

    Raises:
        CodeError: the code does not exist.
    """
    code = _require(code)
    return tuple(node for node in children(path(code)[-2]) if node != code)


def distance(code: str, other: str) -> int:
    """Edges between two codes in the tree, through a common root above the chapters; 0 for the same
    code.

    Raises:
        CodeError: one of them does not exist.
    """
    first, second = path(code), path(other)
    return len(first) + len(second) - 2 * shared_depth(first, second)


def shared_depth(first: tuple[str, ...], second: tuple[str, ...]) -> int:
    """Number of nodes that two paths (`path`) have in common, counted from the chapter down."""
    depth = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        depth += 1
    return depth


def successors(code: str) -> tuple[str, ...]:
    """Codes that took the place of a retired code, sorted; empty for a code that is billable in the
    newest release.

    The sources hold no conversion table, so this is derived, first rule that finds something:
    billable codes below it (`M5136` → `M51360` ...); codes that fill its placeholders and keep its
    seventh character (`T814XXA` → `T8140XA` ...); the nearest ancestor that became billable
    (`H8141` → `H814`); codes that began under the same parent in the first release without it.

    Raises:
        CodeError: the code does not exist, or is a header that never was billable.
    """
    code = _require(code)
    years = billable_releases(code)
    if not years:
        raise CodeError(
            f"only codes that were billable have successors; {dotted(code)} is a header in every"
            " release"
        )
    if years[-1] == RELEASES[-1]:
        return ()
    gone = RELEASES[RELEASES.index(years[-1]) + 1]
    below = tuple(c for c in _below(code) if is_billable(c, gone))
    rules = (_fill_placeholders, _merged_ancestor, _new_siblings)
    return below or next(filter(None, (rule(code, gone) for rule in rules)), ())


def _fill_placeholders(code: str, release: int) -> tuple[str, ...]:
    stem = code[:-1].rstrip("X")
    if len(code) < MAX_LENGTH or stem == code[:-1]:
        return ()
    return tuple(
        c for c in _below(stem) if c[-1] == code[-1] and c != code and is_billable(c, release)
    )


def _merged_ancestor(code: str, release: int) -> tuple[str, ...]:
    above = (node for node in ancestors(code) if is_billable(node, release))
    return tuple(above)[:1]


def _new_siblings(code: str, release: int) -> tuple[str, ...]:
    before = RELEASES[RELEASES.index(release) - 1]
    above = path(code)[-2]
    candidates = _below(above) if above in _table().masks else ()
    return tuple(c for c in candidates if is_billable(c, release) and not is_billable(c, before))


def _below(code: str) -> list[str]:
    """Codes that have `code` as a proper prefix, sorted."""
    codes = _table().codes
    start = bisect_left(codes, code + "0")
    return codes[start : bisect_left(codes, code + "[", start)]


def _build_path(code: str) -> tuple[str, ...]:
    table = _table()
    name = table.block_of[code[:3]]
    prefixes = (code[:length] for length in range(3, len(code) + 1))
    return (table.chapter_of[name], name, *(prefix for prefix in prefixes if prefix in table.masks))


def _advise(code: str) -> str:
    """Way out for a code that is not billable where it was asked for."""
    years = billable_releases(code)
    if years:
        following = ", ".join(map(dotted, successors(code)[:4]))
        return f" (billable in FY{years[0]} to FY{years[-1]}" + (
            f"; now {following})" if following else ")"
        )
    below = [dotted(c) for c in _below(code) if is_billable(c)][:3] if exists(code) else []
    return f"; it is a header, use a code below it such as {', '.join(below)}" if below else ""


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


def _require(code: str) -> str:
    canonical = normalise(code)
    if canonical not in _table().masks:
        raise CodeError(
            f"not an ICD-10-CM code of any release from FY{RELEASES[0]} to FY{RELEASES[-1]}:"
            f" {code[:32]!r}; give a code such as I25.10"
        )
    return canonical


def _require_node(node: str) -> str:
    canonical = normalise(node)
    return canonical if canonical in _table().titles else _require(node)
