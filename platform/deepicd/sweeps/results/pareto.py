"""The objectives of a sweep, and the Pareto front of its trials.

In: a report, or `records.Trial`s. Out: their objectives, or the Pareto front. Decided here: where
an objective stands in a report. All of a trial's are taken at its best validation by
`sweep.metric`, so they belong to the checkpoint that would be promoted: `gpu_hours` are those spent
until then, and `response_length` (tokens) is the mean over that step's answers to training notes,
sampled with the trial's own temperature.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from deepicd.config import MINIMISED
from deepicd.records import Trial
from deepicd.training.grpo.metric_names import GPU_HOURS, RESPONSE_LENGTH, validation

_REPORT_KEYS = {"response_length": RESPONSE_LENGTH, "gpu_hours": GPU_HOURS}
"""Objectives that are no validation score → key of a report."""


def objectives_of(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    """Objective → value, as far as this report has them."""
    keys = {name: _REPORT_KEYS.get(name, validation(name)) for name in names}
    return {name: float(row[key]) for name, key in keys.items() if key in row}


def pareto_front(trials: Sequence[Trial], names: Sequence[str]) -> set[str]:
    """Ids of the trials that no other trial beats: is at least as good in every objective and
    better in one. Trials that lack an objective are left out.
    """
    points = {
        trial.id: [_gain(trial, name) for name in names]
        for trial in trials
        if all(name in trial.objectives for name in names)
    }
    return {
        trial
        for trial, point in points.items()
        if not any(_beats(other, point) for other in points.values())
    }


def _gain(trial: Trial, name: str) -> float:
    return -trial.objectives[name] if name in MINIMISED else trial.objectives[name]


def _beats(first: Sequence[float], second: Sequence[float]) -> bool:
    # Equal points do not beat each other: both stay on the front.
    return first != second and all(a >= b for a, b in zip(first, second, strict=True))
