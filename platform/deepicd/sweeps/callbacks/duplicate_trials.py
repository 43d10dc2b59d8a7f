"""Stops a sweep in which a parameter does nothing: unequal values, equal weights.

In: the fingerprints of every trial's first updates (`training.grpo.fingerprint`), and what its
metrics say about those steps. Out: a `SweepError` that names both trials and the parameters.
Decided here: which parameters must have acted by the third update.

- Most parameters must. Some act only on what a metric counts (`_ACTS_ON`), and some need not have
  acted by then (`_MAY_NOT_ACT`).
- A parameter that acts on no trial is refused before the sweep starts (`training.grpo.effects`).
  Here those are found that should act and do not.
- A trial that continues from a checkpoint has no fingerprints and is not compared.
- Two trials with equal parameters may be equal.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from ray import tune

from deepicd.config import Scalar
from deepicd.errors import SweepError
from deepicd.training.grpo import metric_names

_Row = Mapping[str, Any]
# float32 has 24 bits, so neighbours lie 6e-8 to 1.2e-7 apart.
_SAME = 1e-6
"""Relative difference below which two values may be equal in float32."""


@dataclass(frozen=True)
class TrialStart:
    """A trial up to its third update."""

    trial: str
    params: Mapping[str, Scalar]
    course: tuple[float, ...]
    """Fingerprints, and the mean reward of every step until then."""
    acted_on: frozenset[str]
    """Parameters that had something to act on."""


class StopDuplicateTrials(tune.Callback):
    """Compares each trial with those before it, once, at its third update."""

    def __init__(self) -> None:
        self._rows: dict[str, list[_Row]] = {}
        self._starts: dict[tuple[float, ...], list[TrialStart]] = {}
        self._fault = ""

    def get_state(self) -> dict[str, Any]:
        """What a resumed sweep has to know."""
        # Not the rows: a trial that ran resumes from a checkpoint, and is not compared.
        return {"starts": self._starts}

    def set_state(self, state: dict[str, Any]) -> None:
        """Resume from there."""
        self._starts = state["starts"]

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        """Note the step; at the third update compare the trial."""
        # A trial that continues from a checkpoint starts at a later step, and gets no rows.
        if result["step"] <= 1:
            self._rows[trial.trial_id] = []
        rows = self._rows.get(trial.trial_id)
        if rows is None or result["step"] == 0:
            return
        rows.append(dict(result))
        if metric_names.FINGERPRINTS[-1] in result:
            del self._rows[trial.trial_id]
            self._compare(describe_start(trial.trial_id, trial.config, rows))

    def _compare(self, start: TrialStart) -> None:
        others = self._starts.setdefault(start.course, [])
        for other in others:
            if silent := without_effect(other, start):
                # The first fault stays: Tune may bring more reports before the step ends.
                self._fault = self._fault or _explain(other, start, silent)
        # A trial comes twice when it starts again from its start model.
        if all(other.trial != start.trial for other in others):
            others.append(start)

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """End the sweep by a SweepError, which Tune would wrap if it came from a result (2.60)."""
        if self._fault:
            raise SweepError(self._fault)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Forget the rows of a trial that is over."""
        self._rows.pop(trial.trial_id, None)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Forget the rows of a trial that failed."""
        self.on_trial_complete(iteration, trials, trial)


def describe_start(trial: str, params: Mapping[str, Scalar], rows: Sequence[_Row]) -> TrialStart:
    """A trial's first updates, from the reports of its first steps. The last of these must hold
    every fingerprint.
    """
    scores = tuple(float(row.get(metric_names.REWARD, 0.0)) for row in rows)
    acted_on = frozenset(address for address in params if _must_have_acted(address, rows))
    prints = tuple(rows[-1][key] for key in metric_names.FINGERPRINTS)
    return TrialStart(trial, params, prints + scores, acted_on)


def without_effect(first: TrialStart, second: TrialStart) -> list[str]:
    """Parameters whose values differ and that must have acted, in two trials that took the same
    course.
    """
    if first.course != second.course:
        return []
    # In either: a switch acts in the trial that has it on, and only that one's metrics show it.
    both = first.params.keys() & second.params.keys() & (first.acted_on | second.acted_on)
    return sorted(name for name in both if not _is_same(first.params[name], second.params[name]))


def _is_same(first: Scalar, second: Scalar) -> bool:
    """Whether two values are equal to a trainer that counts in float32."""
    if isinstance(first, float) and isinstance(second, float):
        return math.isclose(first, second, rel_tol=_SAME)
    return first == second


def _must_have_acted(address: str, rows: Sequence[_Row]) -> bool:
    """Whether a parameter must have had an effect in these steps."""
    # The first pattern decides.
    for pattern, acts_on in _ACTS_ON.items():
        if fnmatchcase(address, pattern):
            return any(acts_on(address, row) for row in rows)
    return not any(fnmatchcase(address, pattern) for pattern in _MAY_NOT_ACT)


def _explain(first: TrialStart, second: TrialStart, silent: Sequence[str]) -> str:
    """What is wrong, where, and the way out."""
    values = ", ".join(
        f"{name} ({first.params[name]} and {second.params[name]})" for name in silent
    )
    return (
        f"trials {first.trial} and {second.trial} differ in {values}, and their weights are equal "
        f"to the last bit after {len(metric_names.FINGERPRINTS)} updates: what differs has no "
        "effect on training. Take it out of [sweep.search], or set sweep.compare_fingerprints = "
        "false if that is meant"
    )


def _are_set(*names: str) -> Callable[[str, _Row], bool]:
    return lambda _, row: all(row.get(name, 0.0) != 0 for name in names)


def _has_varied(address: str, row: _Row) -> bool:
    """Whether the answers of a step differ in the component that a reward weight is for."""
    component = address.removeprefix("rewards.weights.")
    return bool(row.get(metric_names.reward_component(component, "std"), 0.0) > 0)


def _has_partial_credit(_: str, row: _Row) -> bool:
    """Whether some weighed credit is neither 0 nor 1, which alone an exponent changes: the variance
    of zeros and ones is mean (1 - mean), and of anything between them less.
    """
    mean, std = (
        row.get(metric_names.reward_component("hierarchy", name), 0.0) for name in ("mean", "std")
    )
    has_weight = row.get(metric_names.weighted_component("hierarchy", "std"), 0.0) > 0
    return bool(has_weight and mean * (1 - mean) - std**2 > _SAME)


_ACTS_ON: Mapping[str, Callable[[str, _Row], bool]] = {
    "rewards.weights.*": _has_varied,
    "rewards.hierarchy_curve": _has_partial_credit,
    "training.use_kl_in_reward": _are_set(
        metric_names.KL_PENALTY, metric_names.KL_PENALTY_COEFFICIENT
    ),
    "training.kl_coef": _are_set(metric_names.KL_PENALTY),
    "training.use_kl_loss": _are_set(metric_names.KL_LOSS, metric_names.KL_LOSS_COEFFICIENT),
    "training.kl_loss_coef": _are_set(metric_names.KL_LOSS),
    "training.clip_ratio": _are_set(metric_names.CLIP_FRACTION),
    "training.max_response_tokens": _are_set(metric_names.RESPONSE_CLIP_RATIO),
}
"""Parameter → whether a step had something for it to act on."""

_MAY_NOT_ACT = (
    *("training.ppo_micro_batch_size_per_gpu", "data.max_prompt_tokens", "rewards.preset"),
    "verl.*",
)
"""Parameters that act on a trial and may leave its first updates as they are."""
