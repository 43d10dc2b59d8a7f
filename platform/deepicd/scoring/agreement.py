"""Several answers to one note → how much of them agree, at each level of the tree.

In: codes, None for an unusable answer. Out: shares of all answers. Decided here: an answer without
a usable code counts in the total and agrees with nobody; this share is what self-consistency (Wang
et al. 2023) takes for confidence, and what `calibration` turns into a probability.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from deepicd import codes

AGREEMENT_LEVELS: Mapping[Literal["code", "category", "chapter"], Callable[[str], str]] = {
    "code": str,
    "category": codes.category,
    "chapter": codes.chapter,
}
"""Level, deepest first → the node of a code there."""


def count_shares(named: Sequence[str | None]) -> dict[str, float]:
    """Name → share of all answers, most frequent first, ties by name; None counts in the total."""
    counts = Counter(name for name in named if name is not None)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {name: count / len(named) for name, count in ranked}


def agreement(answer: str, others: Sequence[str | None]) -> dict[str, float]:
    """Level → share of all answers, the first included, that name its node at that level."""
    found: dict[str, float] = {}
    for level, node in AGREEMENT_LEVELS.items():
        same = sum(other is not None and node(other) == node(answer) for other in others)
        found[level] = (1 + same) / (1 + len(others))
    return found
