"""Codes → one regular expression that matches exactly these, for constrained decoding.

In: codes in any one form. Out: a pattern. Decided here: a prefix tree whose equal branches are
written once, so that all billable codes of nine releases take 56 kB instead of 700 and a grammar
compiler reads them in a tenth of a second.
"""

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from deepicd.codes.table import billable_codes, dotted

_END = ""
_SPECIAL = {".": r"\."}


def pattern(words: Iterable[str]) -> str:
    """Pattern of these words: letters, digits and dots. Empty for none."""
    tree: dict[str, Any] = {}
    for word in words:
        node = tree
        for character in word:
            node = node.setdefault(character, {})
        node[_END] = {}
    return _write(tree)


@lru_cache(maxsize=4)
def billable_pattern(release: int | None = None) -> str:
    """Pattern of every billable code, with its dot, of one release or (None) of all."""
    return pattern(dotted(code) for code in billable_codes(release))


def _write(node: dict[str, Any]) -> str:
    by_rest: dict[str, list[str]] = defaultdict(list)
    # Characters that are followed by the same pattern are written as one class, such as [02].
    for character, below in sorted(node.items()):
        if character != _END:
            by_rest[_write(below)].append(_SPECIAL.get(character, character))
    choices = [_any_of(characters) + rest for rest, characters in by_rest.items()]
    if not choices:
        return ""
    if len(choices) == 1 and _END not in node:
        return choices[0]
    # A code may end here and go on too, as D75.82 and D75.821 of different releases.
    return f"({'|'.join(choices)})" + ("?" if _END in node else "")


def _any_of(characters: list[str]) -> str:
    return characters[0] if len(characters) == 1 else f"[{''.join(characters)}]"
