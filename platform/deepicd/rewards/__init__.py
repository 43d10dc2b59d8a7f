"""Answer → Score: one pure reward a file, a table of names and presets, an entry point for verl."""

from deepicd.rewards.table import (
    PRESETS,
    REWARDS,
    Reward,
    build_reward,
    check_gold,
    resolve_weights,
)

__all__ = ["PRESETS", "REWARDS", "Reward", "build_reward", "check_gold", "resolve_weights"]
