"""The reward functions by name, the presets, and the weighted sum that is built from them.

In: a preset's name, weights that replace the preset's own name by name, the exponent of the
hierarchical credit. Out: `reward(answer, gold, note=None)` → `records.Score` (total = sum of weight
x component). Adding a reward is a file, a line in `REWARDS` and a test; the conformance suite runs
over every line.

One component is not computed here: `judge` comes from an endpoint (`rewards.judge`) and is passed
in. When it is absent, the others are scaled up to the sum of all weights, so that an answer without
a rating is neither better nor worse off than the others of its GRPO group.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from deepicd import codes
from deepicd.config import RewardConfig, nearest
from deepicd.errors import CodeError, ConfigError, Fault, refuse
from deepicd.records import Answer, Score
from deepicd.rewards import reference
from deepicd.rewards.format import reward_format
from deepicd.rewards.hierarchy import build_hierarchy
from deepicd.rewards.length import reward_length
from deepicd.rewards.outcome import reward_outcome
from deepicd.rewards.reasoning import reward_reasoning

_RewardFunction = Callable[[Answer, str, str | None], float]
"""(answer, canonical gold code, note or None) → one unweighted component."""


class Reward(Protocol):
    """A built reward."""

    def __call__(
        self,
        answer: Answer,
        gold: str,
        note: str | None = None,
        *,
        judged: float | None = None,
    ) -> Score:
        """Score one answer against one gold code; `note` is the admission note, for components
        that use it; without it they are computed without it. `judged` is the judge's value in
        [0, 1]; None leaves that component out.

        Raises:
            CodeError: the gold label is not one billable code.
        """


REWARDS: Mapping[str, Callable[[float], _RewardFunction]] = {
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
"""Name → builder that takes the hierarchy curve. Rewards lie in [0, 1], penalties in [-1, 0]."""

JUDGE = "judge"
"""Name of the component that is passed in."""

NAMES = (*REWARDS, JUDGE)
"""Every component that may have a weight."""

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
"""Preset → weights. A component with weight 0 is reported and does not count."""


def build_reward(
    preset: str = "default",
    weights: Mapping[str, float] | None = None,
    *,
    hierarchy_curve: float = 1.0,
) -> Reward:
    """Build the reward: the weighted sum of a preset's components.

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
    functions = {name: REWARDS[name](hierarchy_curve) for name in chosen if name != JUDGE}
    computed = math.fsum(chosen[name] for name in functions)
    scale_without_judge = math.fsum(chosen.values()) / computed if computed else 0.0

    def reward(
        answer: Answer, gold: str, note: str | None = None, *, judged: float | None = None
    ) -> Score:
        label = check_gold(gold)
        values = {name: function(answer, label, note) for name, function in functions.items()}
        # fsum, because its result does not depend on the order in which weights were named.
        total = math.fsum(chosen[name] * value for name, value in values.items())
        if JUDGE in chosen and judged is not None:
            values[JUDGE] = judged
            total += chosen[JUDGE] * judged
        else:
            # 1 where the judge has no weight.
            total *= scale_without_judge
        return Score(total=total, components=values, weights=chosen)

    return reward


def resolve_weights(preset: str, weights: Mapping[str, float]) -> dict[str, float]:
    """The preset's weights, replaced name by name by `weights`.

    Raises:
        ConfigError: as in `build_reward`.
    """
    refuse(_weight_faults(preset, weights))
    return {**PRESETS[preset], **{name: float(weight) for name, weight in weights.items()}}


def _weight_faults(preset: str, weights: Mapping[str, float]) -> Iterator[Fault]:
    """An unknown preset or reward, a weight that cannot steer, or none above 0."""
    faults = list(_faults_by_name(preset, weights))
    yield from faults
    if not faults and sum({**PRESETS[preset], **weights}.values()) <= 0:
        rule = f"reward weights must sum to more than 0; got {dict(weights)} on preset {preset!r}"
        yield Fault("rewards.weights", rule, "set at least one weight above 0", dict(weights))


def _faults_by_name(preset: str, weights: Mapping[str, float]) -> Iterator[Fault]:
    if preset not in PRESETS:
        close = nearest(preset, list(PRESETS))
        rule = f"unknown reward preset {preset!r}{close}"
        yield Fault("rewards.preset", rule, f"known: {', '.join(PRESETS)}", preset)
    for name, weight in weights.items():
        place = f"rewards.weights.{name}"
        if name not in NAMES:
            rule = f"unknown reward {name!r}{nearest(name, NAMES)}"
            yield Fault(place, rule, f"known: {', '.join(NAMES)}", weight)
        elif not isinstance(weight, int | float) or not math.isfinite(weight) or weight < 0:
            rule = f"{place} must be a finite number >= 0; got {weight!r}"
            yield Fault(place, rule, "choose such a number", weight)


def find_faults(config: RewardConfig, *, searched: Sequence[str] = ()) -> Iterator[Fault]:
    """Settings from which no reward can be built.

    Args:
        config: an experiment's rewards.
        searched: names whose weights a sweep will choose.
    """
    # What the sweep will choose is not known yet; 1 stands for any weight above 0.
    weights = {**config.weights, **{name: config.weights.get(name, 1.0) for name in searched}}
    faults = list(_weight_faults(config.preset, weights))
    yield from faults
    chosen = {} if faults else resolve_weights(config.preset, weights)
    if not chosen.get(JUDGE):
        return
    if not config.judge.url:
        yield Fault(
            "rewards.judge.url",
            f"rewards.weights.judge is {chosen[JUDGE]:g} and there is no judge",
            "set rewards.judge.url and rewards.judge.model, or the weight to 0",
        )
    others = math.fsum(weight for name, weight in chosen.items() if name != JUDGE)
    if not others and config.judge.when_down == "absent":
        yield Fault(
            "rewards.judge.when_down",
            "only the judge has a weight, so there is no reward while it is down",
            "set rewards.judge.when_down = 'stop', or give another component a weight",
            config.judge.when_down,
        )


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
