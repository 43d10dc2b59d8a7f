"""Answer → Score: one pure reward a file, a table of names and presets, an entry point for verl.

One part, `judge`, is asked of an LLM (`judge.py`) and handed in.
"""

from deepicd.rewards.composite import (
    JUDGE,
    NAMES,
    PRESETS,
    REWARDS,
    Reward,
    build_reward,
    check_gold,
    check_rewards,
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
    "check_rewards",
    "resolve_weights",
]
