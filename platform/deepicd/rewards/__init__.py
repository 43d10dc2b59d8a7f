"""Answer → Score: one pure reward a file, the weighted sum of them, verl's entry point.

One component, `judge`, is the rating of an LLM (`judge.py`) and is passed in.
"""

from deepicd.rewards.composite import (
    JUDGE,
    NAMES,
    PRESETS,
    REWARDS,
    Reward,
    build_reward,
    check_gold,
    find_faults,
    resolve_weights,
)

__all__ = [
    "JUDGE",
    "NAMES",
    "PRESETS",
    "REWARDS",
    "Reward",
    "build_reward",
    "check_gold",
    "find_faults",
    "resolve_weights",
]
