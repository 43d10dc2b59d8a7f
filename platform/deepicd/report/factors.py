"""What trials say about each factor of a sweep: two groups of trials and the difference of their
mean scores.

In: trial id → values, trial id → score. Decided here:

- groups are chosen before a score is looked at: a choice's values against its first one, a reward
  weight of 0 against above 0, any other number above its median against the rest;
- the interval is Welch's for a difference of means (unequal variances). A percentile bootstrap of
  three trials against three is far too narrow, and of one trial has no width;
- its confidence is Bonferroni's: all comparisons of a report together are wrong in at most 5%;
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
from deepicd.report.page import show

SEED = "seed"
"""Address of the seed among a trial's values."""
FAMILY_CONFIDENCE = 0.95
MIN_GROUP = 2
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
    difference: float
    low: float | None = None
    """None when a group is too small, or no score differs within either."""
    high: float | None = None

    @property
    def is_decided(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def splits_of(
    params: Mapping[str, Mapping[str, Scalar]], search: Mapping[str, Domain]
) -> list[Split]:
    """The comparisons that a search space asks for; a value that no trial varied asks for none."""
    found = []
    for address, domain in search.items():
        values = {trial: own[address] for trial, own in params.items() if address in own}
        if len(set(values.values())) < 2:
            continue
        if isinstance(domain, Choice):
            found += _by_choice(address, values, domain.values)
        else:
            found.append(_by_size(address, values))
    return found


def merge_alike(splits: Sequence[Split]) -> list[Split]:
    """Splits that part the trials alike as one; the first one gives it its name."""
    found: dict[frozenset[tuple[str, ...]], Split] = {}
    for one in splits:
        groups = frozenset((one.first_trials, one.second_trials))
        kept = found.setdefault(groups, one)
        if kept is not one:
            words = (one.first, one.second)
            first, second = words if one.first_trials == kept.first_trials else words[::-1]
            phrase = f"{one.factor}: {first} against {second}"
            found[groups] = replace(kept, alike=(*kept.alike, phrase))
    return list(found.values())


def merge_seeds(
    params: Mapping[str, Mapping[str, Scalar]], scores: Mapping[str, float]
) -> dict[str, float]:
    """The first trial of each configuration → mean score of its trials: runs that differ in their
    seed only are not independent of each other.
    """
    runs: dict[str, list[str]] = {}
    for trial in scores:
        own = {address: value for address, value in params[trial].items() if address != SEED}
        runs.setdefault(json.dumps(own, sort_keys=True), []).append(trial)
    return {trials[0]: statistics.fmean(scores[one] for one in trials) for trials in runs.values()}


def _by_choice(address: str, values: Mapping[str, Scalar], known: Sequence[Scalar]) -> list[Split]:
    used = set(values.values())
    reference, *others = [value for value in dict.fromkeys((*known, *used)) if value in used]
    return [
        split(
            address,
            (show(other), show(reference)),
            {trial: own == other for trial, own in values.items() if own in (other, reference)},
        )
        for other in others
    ]


def _by_size(address: str, values: Mapping[str, Scalar]) -> Split:
    numbers = sorted({float(value) for value in values.values()})
    is_weight = address.startswith(_WEIGHTS) and numbers[0] == 0
    bound = 0.0 if is_weight else statistics.median_low(numbers)
    words = ("above 0", "0") if is_weight else (f"above {show(bound)}", f"at most {show(bound)}")
    return split(address, words, {trial: float(value) > bound for trial, value in values.items()})


def credit_split(weights: Mapping[str, float]) -> Split | None:
    """Hierarchical credit against none, from trial id → the weight that the hierarchy had in its
    reward, by preset or by hand; None when all trials agree on whether there is credit.
    """
    has_credit = {trial: weight > 0 for trial, weight in weights.items()}
    if len(set(has_credit.values())) < 2:
        return None
    return split("hierarchical credit", ("given", "not given (strict)"), has_credit)


def split(factor: str, words: tuple[str, str], is_first: Mapping[str, bool]) -> Split:
    """Trials in two groups, from trial id → whether it is in the first."""
    first = tuple(trial for trial, is_in in is_first.items() if is_in)
    second = tuple(trial for trial, is_in in is_first.items() if not is_in)
    return Split(factor, *words, first, second)


def compare(splits: Sequence[Split], scores: Mapping[str, float]) -> list[Comparison]:
    """Every split, at a confidence for all of them together; each trial of theirs has a score."""
    confidence = 1 - (1 - FAMILY_CONFIDENCE) / max(1, len(splits))
    return [_compare(one, scores, confidence) for one in splits]


def _compare(one: Split, scores: Mapping[str, float], confidence: float) -> Comparison:
    groups = (one.first_trials, one.second_trials)
    first, second = ([scores[trial] for trial in trials] for trials in groups)
    difference = statistics.fmean(first) - statistics.fmean(second)
    if min(len(first), len(second)) < MIN_GROUP:
        return Comparison(one, difference)
    sizes = [len(first), len(second)]
    parts = [statistics.variance(first) / sizes[0], statistics.variance(second) / sizes[1]]
    if not sum(parts):  # no spread was seen, which does not say that there is none
        return Comparison(one, difference)
    shares = [part**2 / (size - 1) for part, size in zip(parts, sizes, strict=True)]
    quantile = t.ppf((1 + confidence) / 2, sum(parts) ** 2 / sum(shares))
    margin = float(quantile * math.sqrt(sum(parts)))
    return Comparison(one, difference, difference - margin, difference + margin)


def common_step(curves: Mapping[str, Sequence[tuple[int, float]]]) -> int | None:
    """The last step at which every trial has a score, so that all are compared after the same
    training; trials without any score are left aside. None when there is none.
    """
    steps = [{step for step, _ in curve} for curve in curves.values() if curve]
    return max(set.intersection(*steps), default=None) if steps else None
