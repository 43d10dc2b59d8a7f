"""Hierarchy: how far down the ICD-10-CM tree is the answer right?

The gold path runs from chapter over block, category and subcategories to the code: n nodes. A code
that shares the first k of them earns (k / n) ** curve. The exact code earns 1 and only it does: a
code below the gold one (a gold label that a later release split) shares all n nodes and counts as
n - 0.5. No usable code, or one from another chapter, earns 0. Bounded in [0, 1]; the exact reward
does not depend on the length of the gold code; strictly monotone in depth.
"""

import math
from collections.abc import Callable

from deepicd import codes
from deepicd.records import Answer

_CHILD_PENALTY = 0.5
"""How much less a code below the gold code earns than the gold code, in nodes."""


def build_hierarchy(curve: float) -> Callable[[Answer, str, str | None], float]:
    """Reward with a fixed exponent > 0: above 1 favours deep matches, below 1 shallow ones."""

    def reward_hierarchy(answer: Answer, gold: str, note: str | None = None) -> float:
        return math.pow(hierarchy_credit(answer.code, gold), curve)

    return reward_hierarchy


def hierarchy_credit(code: str | None, gold: str) -> float:
    """Share of the gold path that `code` has right, in [0, 1]; both canonical and in the table.

    Raises:
        CodeError: the gold code does not exist.
    """
    if code is None:
        return 0.0
    if code == gold:
        return 1.0
    gold_path = codes.path(gold)
    depth = codes.shared_depth(codes.path(code), gold_path)
    # Only a code below the gold one shares all nodes of its path without being it.
    return min(float(depth), len(gold_path) - _CHILD_PENALTY) / len(gold_path)
