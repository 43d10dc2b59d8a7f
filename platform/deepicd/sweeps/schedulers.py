"""Ray Tune's rules of who is stopped, with the guards that a sweep of ours needs.

Tune's snapshot of a sweep leaves the scheduler out (Ray 2.60), so after a resume it would have no
trial to compare with. Each rule therefore learns what a trial has reported, from its folder, when
Tune adds the trial.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from deepicd.config import Experiment
from deepicd.sweeps.results.decision import is_fresh
from deepicd.sweeps.results.trials import (
    read_history,
)
from deepicd.training.grpo.metric_names import OBJECTIVE, validation

Spares = Callable[[Mapping[str, Any]], bool]
"""Whether a trial with these parameters is never to be stopped."""


def spare_none(_: Mapping[str, Any]) -> bool:
    """Nobody is spared."""
    return False


class HalvingRule(ASHAScheduler):
    """ASHA that remembers, and spares some trials."""

    def __init__(self, *, spares: Spares = spare_none, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._spares = spares

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Note what the trial reported before the sweep was interrupted, if it is not new."""
        super().on_trial_add(tune_controller, trial)
        for row in earlier_reports(trial):
            super().on_trial_result(tune_controller, trial, row)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Continue, or stop."""
        if self._spares(trial.config):
            return str(TrialScheduler.CONTINUE)
        return str(super().on_trial_result(tune_controller, trial, result))


class MedianRule(MedianStoppingRule):
    """Compares trials at validations only, and never pauses one (Ray 2.60). Remembers, and spares
    some trials.

    Between validations, and before the first, a report's objective is an older one or NaN, and NaN
    as a trial's best would stop it. While few trials can be compared Tune's rule pauses a trial for
    a waiting one; ours never wait for each other.
    """

    def __init__(self, validation: str, *, spares: Spares = spare_none, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._validation = validation
        self._spares = spares

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Note what the trial reported before the sweep was interrupted, if it is not new."""
        super().on_trial_add(tune_controller, trial)
        for row in earlier_reports(trial):
            if self._validation in row:
                super().on_trial_complete(tune_controller, trial, row)  # which only notes it

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Continue, or stop."""
        if self._validation not in result or self._spares(trial.config):
            return str(TrialScheduler.CONTINUE)
        return str(super().on_trial_result(tune_controller, trial, result))

    def _on_insufficient_samples(self, *_: Any) -> str:
        return str(TrialScheduler.CONTINUE)


def earlier_reports(trial: Any) -> list[dict[str, Any]]:
    """What a trial reported before its sweep was interrupted; a new one has no folder yet."""
    try:
        return read_history(Path(trial.path))
    except RuntimeError:
        return []


def rungs(experiment: Experiment) -> list[int]:
    """Steps in order; empty without a scheduler. ASHA's are its grace period times powers of its
    reduction factor, the median rule's are the validations from its grace period on.
    """
    sweep, training = experiment.sweep, experiment.training
    if sweep.scheduler == "none":
        return []
    if sweep.scheduler == "median":
        steps = range(training.validate_every, training.total_steps, training.validate_every)
        return [step for step in steps if step >= sweep.grace_steps]
    found, step = [], sweep.grace_steps
    while step < training.total_steps:
        found.append(step)
        step *= sweep.reduction_factor
    return found


def build_scheduler(experiment: Experiment) -> TrialScheduler:
    """ASHA or the median rule on GRPO steps, or none. A trial that reaches its last step ends by
    itself, not by the scheduler; one that confirms a configuration always does.
    """
    sweep = experiment.sweep
    spares = partial(is_fresh, experiment=experiment)
    if sweep.scheduler == "none":
        return FIFOScheduler()
    if sweep.scheduler == "median":
        return MedianRule(
            validation(sweep.metric),
            spares=spares,
            time_attr="step",
            metric=OBJECTIVE,
            mode="max",
            grace_period=sweep.grace_steps,
            min_samples_required=2,
        )
    return HalvingRule(
        spares=spares,
        time_attr="step",
        metric=OBJECTIVE,
        mode="max",
        grace_period=sweep.grace_steps,
        max_t=experiment.training.total_steps + 1,
        reduction_factor=sweep.reduction_factor,
    )
