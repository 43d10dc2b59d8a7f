"""Position of a code in the tree: category, block, chapter, ancestors, children, distance.

Decided here: a node's parent is its longest proper prefix that is a code of any release
(placeholders `X` are not nodes: `S0262XA` hangs below `S0262`); a category hangs below its block, a
block below its chapter. All releases form one tree.
"""

from bisect import bisect_left

from deepicd.codes.table import load_table, require, require_node

_paths: dict[str, tuple[str, ...]] = {}
"""Canonical code → its path; rewards ask for the same few paths again and again."""


def category(code: str) -> str:
    """Category (three characters) of a code: `I2510` → `I25`.

    Raises:
        CodeError: the code does not exist.
    """
    return require(code)[:3]


def block(code: str) -> str:
    """Block of a code: `I2510` → `I20-I25`; of a block with one category: `B20` → `B20-B20`.

    Raises:
        CodeError: the code does not exist.
    """
    return load_table().block_of[require(code)[:3]]


def chapter(code: str) -> str:
    """Chapter of a code as a roman numeral: `I2510` → `IX`.

    Raises:
        CodeError: the code does not exist.
    """
    return load_table().chapter_of[block(code)]


def chapter_title(code: str) -> str:
    """Title of the chapter of a code.

    Raises:
        CodeError: the code does not exist.
    """
    return load_table().titles[chapter(code)]


def ancestors(code: str) -> tuple[str, ...]:
    """What lies above a code, nearest first: subcategories, category, block, chapter.

    `I2510` → `("I251", "I25", "I20-I25", "IX")`. Blocks and chapters are not codes and have no
    ancestors here; see `parent`.

    Raises:
        CodeError: the code does not exist.
    """
    # Without the code itself, from the bottom up.
    return path(code)[-2::-1]


def path(code: str) -> tuple[str, ...]:
    """From the chapter down to the code itself: `I2510` → `("IX", "I20-I25", "I25", "I251",
    "I2510")`.

    Raises:
        CodeError: the code does not exist.
    """
    nodes = _paths.get(code)
    if nodes is None:
        code = require(code)
        # Under the canonical spelling only: whatever text is asked for cannot fill the memory.
        nodes = _paths[code] = _build_path(code)
    return nodes


def parent(node: str) -> str | None:
    """Node directly above a code, block or chapter; None for a chapter.

    Raises:
        CodeError: no such node.
    """
    node = require_node(node)
    if node in load_table().masks:
        return path(node)[-2]
    return load_table().chapter_of.get(node)


def children(node: str) -> tuple[str, ...]:
    """Nodes directly below a code, block or chapter, in tree order (all releases).

    Raises:
        CodeError: no such node.
    """
    node = require_node(node)
    table = load_table()
    if node in table.masks:
        return tuple(code for code in codes_below(node) if path(code)[-2] == node)
    if node in table.chapter_of:
        return tuple(code for code, name in table.block_of.items() if name == node)
    return tuple(name for name, numeral in table.chapter_of.items() if numeral == node)


def descendants(code: str) -> tuple[str, ...]:
    """Every code below a code, sorted (all releases).

    Raises:
        CodeError: the code does not exist.
    """
    return tuple(codes_below(require(code)))


def siblings(code: str) -> tuple[str, ...]:
    """The other nodes below the parent of a code, in tree order.

    Raises:
        CodeError: the code does not exist.
    """
    code = require(code)
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
    for node, other in zip(first, second, strict=False):
        if node != other:
            break
        depth += 1
    return depth


def codes_below(code: str) -> list[str]:
    """Codes that have `code` as a proper prefix, sorted."""
    codes = load_table().codes
    # "0" is the first character that may follow in a code, "[" the one after "Z".
    start = bisect_left(codes, code + "0")
    return codes[start : bisect_left(codes, code + "[", start)]


def _build_path(code: str) -> tuple[str, ...]:
    table = load_table()
    name = table.block_of[code[:3]]
    # Not every prefix is a code: S02.62XA hangs directly below S02.62.
    prefixes = (code[:length] for length in range(3, len(code) + 1))
    return (table.chapter_of[name], name, *(prefix for prefix in prefixes if prefix in table.masks))
