"""What trials say about each factor of a sweep: two groups of trials and the difference of their
mean scores.

In: trial id → values, trial id → score. Decided here:

- groups are chosen before a score is looked at: a choice's values against its first one, a reward
  weight of 0 against above 0, any other number above its median against the rest;
- the interval is Welch's for a difference of means (unequal variances). A percentile bootstrap of
  three trials against three is far too narrow, and of one trial has no width;
- its confidence is Bonferroni's: all comparisons of a report together are wrong in at most 5%;
- independent are configurations, each with the mean over its seeds; seeds are where a group is one
  configuration, so the answer then holds for these two configurations;
- a difference whose interval holds 0 is undecided, which is not "no difference";
- factors that part the trials alike are one comparison: these trials cannot tell them apart.
"""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from scipy.stats import t

from deepicd.config import Choice, Domain, Scalar
from deepicd.report.html import show

_SEED = "seed"
"""Address of the seed among a trial's values."""
FAMILY_CONFIDENCE = 0.95
_MIN_GROUP = 2
"""Trials that a group needs for its spread to be known."""
_WEIGHTS = "rewards.weights."


@dataclass(frozen=True)
class Split:
    """Two groups of trials by one factor."""

    factor: str
    """Address of a value, or a name in words."""
    first: str
    """What the first group has, in words."""
    second: str
    first_trials: tuple[str, ...]
    second_trials: tuple[str, ...]
    alike: tuple[str, ...] = ()
    """Other factors that part the trials alike, each with its groups in this order."""


@dataclass(frozen=True)
class Comparison:
    """Mean score of the first group minus the second's."""

    split: Split
    sizes: tuple[int, int]
    """Independent scores in each group."""
    unit: str
    """What they are: trials, configurations (means over seeds), or seeds of one configuration."""
    difference: float
    low: float | None
    """None where no interval can be given."""
    high: float | None

    @property
    def is_decided(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def splits_of(
    params: Mapping[str, Mapping[str, Scalar]], search: Mapping[str, Domain]
) -> list[Split]:
    """The comparisons that a search space asks for; a value that no trial varied asks for none."""
    splits = []
    for address, domain in search.items():
        values = {trial: own[address] for trial, own in params.items() if address in own}
        if len(set(values.values())) < 2:
            continue
        if isinstance(domain, Choice):
            splits += _by_choice(address, values, domain.values)
        else:
            splits.append(_by_size(address, values))
    return splits


def merge_alike(splits: Sequence[Split]) -> list[Split]:
    """Splits that part the trials alike as one; the first one gives it its name."""
    merged: dict[frozenset[tuple[str, ...]], Split] = {}
    for split in splits:
        # A set: two groups named the other way round are the same comparison.
        groups = frozenset((split.first_trials, split.second_trials))
        first_alike = merged.setdefault(groups, split)
        if first_alike is not split:
            words = (split.first, split.second)
            first, second = words if split.first_trials == first_alike.first_trials else words[::-1]
            phrase = f"{split.factor}: {first} against {second}"
            merged[groups] = replace(first_alike, alike=(*first_alike.alike, phrase))
    return list(merged.values())


def group_seeds(
    params: Mapping[str, Mapping[str, Scalar]], scores: Mapping[str, float]
) -> dict[str, list[float]]:
    """The first trial of each configuration → scores of its trials, which differ in their seed
    only.
    """
    first: dict[str, str] = {}
    runs: dict[str, list[float]] = {}
    for trial, score in scores.items():
        own = {address: value for address, value in params[trial].items() if address != _SEED}
        name = first.setdefault(json.dumps(own, sort_keys=True), trial)
        runs.setdefault(name, []).append(score)
    return runs


def _by_choice(
    address: str, values: Mapping[str, Scalar], choices: Sequence[Scalar]
) -> list[Split]:
    used = set(values.values())
    # The first value that a trial drew: one that nobody drew can be no reference.
    reference, *others = [value for value in dict.fromkeys((*choices, *used)) if value in used]
    return [
        _split(
            address,
            (show(other), show(reference)),
            {trial: own == other for trial, own in values.items() if own in (other, reference)},
        )
        for other in others
    ]


def _by_size(address: str, values: Mapping[str, Scalar]) -> Split:
    numbers = sorted({float(value) for value in values.values()})
    is_weight = address.startswith(_WEIGHTS) and numbers[0] == 0
    # The lower median, so that at least one number lies above it.
    bound = 0.0 if is_weight else statistics.median_low(numbers)
    words = ("above 0", "0") if is_weight else (f"above {show(bound)}", f"at most {show(bound)}")
    return _split(address, words, {trial: float(value) > bound for trial, value in values.items()})


def credit_split(weights: Mapping[str, float]) -> Split | None:
    """Hierarchical credit against none, from trial id → the weight that the hierarchy had in its
    reward, by preset or by hand; None when all trials agree on whether there is credit.
    """
    has_credit = {trial: weight > 0 for trial, weight in weights.items()}
    if len(set(has_credit.values())) < 2:
        return None
    return _split("hierarchical credit", ("given", "not given (strict)"), has_credit)


def _split(factor: str, words: tuple[str, str], is_first: Mapping[str, bool]) -> Split:
    """Trials in two groups, from trial id → whether it is in the first."""
    first = tuple(trial for trial, is_in in is_first.items() if is_in)
    second = tuple(trial for trial, is_in in is_first.items() if not is_in)
    return Split(factor, *words, first, second)


def compare(splits: Sequence[Split], runs: Mapping[str, Sequence[float]]) -> list[Comparison]:
    """Every split, at a confidence for all of them together.

    Args:
        splits: of trials that stand for their configuration.
        runs: each of them → scores of its configuration's trials.
    """
    confidence = 1 - (1 - FAMILY_CONFIDENCE) / max(1, len(splits))
    return [_compare(split, runs, confidence) for split in splits]


def _compare(split: Split, runs: Mapping[str, Sequence[float]], confidence: float) -> Comparison:
    groups = (split.first_trials, split.second_trials)
    if len(split.first_trials) == len(split.second_trials) == 1:
        first, second = (list(runs[trials[0]]) for trials in groups)
        unit = "seeds" if len(first) > 1 or len(second) > 1 else "trials"
    else:
        first, second = ([statistics.fmean(runs[trial]) for trial in own] for own in groups)
        has_seeds = any(len(runs[trial]) > 1 for own in groups for trial in own)
        unit = "configurations" if has_seeds else "trials"
    difference = statistics.fmean(first) - statistics.fmean(second)
    low, high = _welch(first, second, confidence)
    return Comparison(split, (len(first), len(second)), unit, difference, low=low, high=high)


def _welch(
    first: Sequence[float], second: Sequence[float], confidence: float
) -> tuple[float | None, float | None]:
    """Interval of the difference of means; none for a group below `_MIN_GROUP`, or where no score
    differs within either: that no spread was seen does not say that there is none.
    """
    sizes = (len(first), len(second))
    if min(sizes) < _MIN_GROUP:
        return None, None
    variances = (statistics.variance(first) / sizes[0], statistics.variance(second) / sizes[1])
    if not sum(variances):
        return None, None
    shares = [variance**2 / (size - 1) for variance, size in zip(variances, sizes, strict=True)]
    # Welch and Satterthwaite's degrees of freedom.
    quantile = t.ppf((1 + confidence) / 2, sum(variances) ** 2 / sum(shares))
    difference = statistics.fmean(first) - statistics.fmean(second)
    margin = float(quantile * math.sqrt(sum(variances)))
    return difference - margin, difference + margin


def common_step(curves: Mapping[str, Sequence[tuple[int, float]]]) -> int | None:
    """The last step at which every trial has a score, so that all are compared after the same
    training; trials without any score are left aside. None when there is none.
    """
    steps = [{step for step, _ in curve} for curve in curves.values() if curve]
    return max(set.intersection(*steps), default=None) if steps else None
