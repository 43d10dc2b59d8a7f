"""The table of rewards and presets, and the function that builds a reward from a choice of them.

In: a preset's name, weights that replace the preset's own name by name, the exponent of the
hierarchical credit. Out: `reward(answer, gold, note=None)` → `records.Score` (total = sum of weight
x part). Adding a reward is a file, a line in `REWARDS` and a test; the conformance suite runs over
every line.
"""

import math
from collections.abc import Callable, Mapping
from typing import Protocol

from deepicd import codes
from deepicd.config import nearest
from deepicd.errors import CodeError, ConfigError
from deepicd.records import Answer, Score
from deepicd.rewards import reference
from deepicd.rewards.format import reward_format
from deepicd.rewards.hierarchy import build_hierarchy
from deepicd.rewards.length import reward_length
from deepicd.rewards.outcome import reward_outcome
from deepicd.rewards.reasoning import reward_reasoning

Part = Callable[[Answer, str, str | None], float]


class Reward(Protocol):
    """A built reward."""

    def __call__(self, answer: Answer, gold: str, note: str | None = None) -> Score:
        """Score one answer against one gold code; `note` is the admission note, for parts that can
        use it; without it they do what can be done without.

        Raises:
            CodeError: the gold label is not one billable code.
        """


REWARDS: Mapping[str, Callable[[float], Part]] = {
    "format": lambda curve: reward_format,
    "outcome": lambda curve: reward_outcome,
    "hierarchy": build_hierarchy,
    "reasoning": lambda curve: reward_reasoning,
    "length": lambda curve: reward_length,
    "reference_match": lambda curve: reference.reward_reference_match,
    "reference_think": lambda curve: reference.reward_reference_think,
    "reference_extra": lambda curve: reference.reward_reference_extra,
    "reference_empty": lambda curve: reference.reward_reference_empty,
}
"""Name → builder that takes the hierarchy curve; parts lie in [0, 1], penalties in [-1, 0]."""

PRESETS: Mapping[str, Mapping[str, float]] = {
    "default": {"format": 0.1, "reasoning": 0.05, "hierarchy": 0.35, "outcome": 0.5},
    "strict": {"format": 0.1, "outcome": 0.9},
    "reference": {
        "reference_match": reference.MATCH_WEIGHT,
        "reference_think": 1.0,
        "reference_extra": reference.EXTRA_WEIGHT,
        "reference_empty": reference.EMPTY_WEIGHT,
    },
}
"""Preset → weights. A part with weight 0 is reported and does not count."""


def build_reward(
    preset: str = "default",
    weights: Mapping[str, float] | None = None,
    *,
    hierarchy_curve: float = 1.0,
) -> Reward:
    """Build a reward.

    Args:
        preset: name in `PRESETS`.
        weights: name in `REWARDS` → weight ≥ 0, replacing the preset's; names that the preset lacks
            are added.
        hierarchy_curve: exponent > 0 of the hierarchical credit.

    Raises:
        ConfigError: unknown preset or reward, a weight that is negative or not finite, no weight
            above 0, or a curve that is not above 0.
    """
    chosen = resolve_weights(preset, weights or {})
    if not (math.isfinite(hierarchy_curve) and hierarchy_curve > 0):
        raise ConfigError(
            f"rewards.hierarchy_curve must be a finite number > 0; got {hierarchy_curve}"
        )
    parts = {name: REWARDS[name](hierarchy_curve) for name in chosen}

    def reward(answer: Answer, gold: str, note: str | None = None) -> Score:
        label = check_gold(gold)
        values = {name: part(answer, label, note) for name, part in parts.items()}
        total = math.fsum(chosen[name] * value for name, value in values.items())
        return Score(total=total, parts=values, weights=chosen)

    return reward


def resolve_weights(preset: str, weights: Mapping[str, float]) -> dict[str, float]:
    """The preset's weights with `weights` put over them.

    Raises:
        ConfigError: as in `build_reward`.
    """
    if preset not in PRESETS:
        known = ", ".join(PRESETS)
        raise ConfigError(
            f"unknown reward preset {preset!r}{nearest(preset, list(PRESETS))}; known: {known}"
        )
    for name, weight in weights.items():
        if name not in REWARDS:
            known = ", ".join(REWARDS)
            raise ConfigError(
                f"unknown reward {name!r}{nearest(name, list(REWARDS))}; known: {known}"
            )
        if not isinstance(weight, int | float) or not math.isfinite(weight) or weight < 0:
            raise ConfigError(
                f"rewards.weights.{name} must be a finite number >= 0; got {weight!r}"
            )
    chosen = {**PRESETS[preset], **{name: float(weight) for name, weight in weights.items()}}
    if sum(chosen.values()) <= 0:
        raise ConfigError(
            f"reward weights must sum to more than 0; got {chosen}. Set at least one weight above"
            " 0."
        )
    return chosen


def check_gold(gold: object) -> str:
    """Canonical gold code.

    Raises:
        CodeError: it is not one text, or no billable code of any release.
    """
    if not isinstance(gold, str):
        raise CodeError(
            f"a gold label is one ICD-10-CM code as text; got {type(gold).__name__} {gold!r:.80}"
        )
    label = codes.normalise(gold)
    if not codes.is_billable(label):
        raise CodeError(
            f"a gold label must be a billable ICD-10-CM code of some release; got {gold[:32]!r}"
        )
    return label
