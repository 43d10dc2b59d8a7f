"""What a trial reports of a step, from verl's columns: reward components, validation, agreement.

In: rows and columns as verl's trainer hands them to its hooks. Out: metrics, predictions, or the
error that ends the trial. Decided here: an answer that was not scored is never a score of 0; rows
are ordered by what they are, since verl's order is that in which answers came back.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepicd.errors import TrainingError
from deepicd.files import write_atomically
from deepicd.records import Prediction
from deepicd.scoring import (
    format_predictions,
    has_few_patients,
    interval,
    score_predictions,
)
from deepicd.training.grpo import metric_names

_OTHER_WEIGHTS = (
    "vLLM does not hold the actor's weights. "
    "Check the weight load of the rollout (docs/training.md) before trusting this run."
)
_MAX_DIVERGENCE = 1e-3
"""Nats a token. Equal weights in float32 differ by 1e-7."""


def answer_order(key: str) -> tuple[str, int, int]:
    """Sort key of an answer in verl's queue, whose name is `prompt_session_turn`."""
    prompt, session, turn = key.rsplit("_", 2)
    return prompt, int(session), int(turn)


def mean_components(infos: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Mean and standard deviation of every numeric reward component over a batch of rollouts.

    A component that is absent for an answer is NaN there and left out; absent for all, it has no
    entry.
    """
    values: dict[str, list[float]] = defaultdict(list)
    for info in infos:
        for name, value in info.items():
            if is_number(value) and not math.isnan(value):
                values[name].append(float(value))
    return {
        metric_names.reward_statistic(name, statistic): float(function(column))
        for name, column in values.items()
        for statistic, function in (("mean", np.mean), ("std", np.std))
    }


def predictions_of(reward_infos: Mapping[str, list[Any]]) -> list[Prediction]:
    """Validation answers from the columns that `rewards.verl_entry` returned, by note: verl's
    order is that in which they came.

    Raises:
        TrainingError: an answer was not scored; an infrastructure failure is never a score.
    """
    columns = [
        reward_infos.get(name, []) for name in ("note_id", "patient_id", "gold", "prediction")
    ]
    rows = list(zip(*columns, strict=True))
    if not rows or any(gold is None for _, _, gold, _ in rows):
        missing = sum(1 for row in rows if row[2] is None)
        raise TrainingError(
            f"{missing} of {len(rows)} validation answers carry no score; see the trial's log "
            "for the failed rollout"
        )
    return [
        # The reward function returns an empty text where an answer has no code.
        Prediction(note_id=note, patient_id=patient, gold=gold, prediction=code or None)
        for note, patient, gold, code in sorted(rows)
    ]


def keep_predictions(predictions: Sequence[Prediction], path: Path) -> None:
    """Write a validation's predictions where trials are compared note by note."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, format_predictions(predictions))


def score_validation(predictions: Sequence[Prediction]) -> dict[str, float]:
    """All scores, and the interval of hierarchical F1 by patient, which says where they are few."""
    low, high = interval(predictions)
    ends = {"hierarchical_f1_low": low, "hierarchical_f1_high": high}
    scores = score_predictions(predictions)
    # A number: reports of a trial hold nothing else.
    few = {"has_few_patients": 1.0} if has_few_patients(int(scores["num_patients"])) else {}
    return scores | ends | few


def check_agreement(metrics: Mapping[str, Any], minimum: float | None, *, step: int) -> None:
    """Refuse to go on when vLLM and the actor disagree: the rollout then samples from other
    weights.
    """
    if minimum is None:
        return
    correlation = metrics.get(metric_names.PROBS_PEARSON)
    # Not `<`: where it cannot be computed it is NaN, which is no agreement either.
    if correlation is None or not float(correlation) >= minimum:
        raise TrainingError(
            f"actor and rollout probabilities correlate at {correlation} in step {step}, below "
            f"training.min_probs_pearson = {minimum}: {_OTHER_WEIGHTS}"
        )


def check_divergence(metrics: Mapping[str, Any], *, step: int) -> None:
    """The same where verl takes the rollout's probabilities for the old policy's (`bypass_mode`)
    and correlates nothing: the ratio of a batch's only update compares the same two.
    """
    divergence = metrics.get(metric_names.PPO_KL)
    if divergence is None or not abs(float(divergence)) <= _MAX_DIVERGENCE:
        raise TrainingError(
            f"actor and rollout diverge by {divergence} nats a token in step {step}, more than "
            f"{_MAX_DIVERGENCE}: {_OTHER_WEIGHTS}"
        )


def unpack_reward_infos(extra_fields: Any) -> Iterable[Mapping[str, Any]]:
    """What the reward function returned for each answer, from verl's column of extra fields, whose
    items it wraps; empty for an answer that was not scored.
    """
    for item in list(extra_fields):
        fields = getattr(item, "data", item) or {}
        yield fields.get("reward_extra_info") or {}


def is_number(value: Any) -> bool:
    """Whether a value is a metric: a number, and no truth value."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
