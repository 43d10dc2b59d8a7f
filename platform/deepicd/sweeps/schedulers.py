"""Who is stopped early: Ray Tune's ASHA and its median stopping rule, for sweeps that resume.

In: an experiment. Out: a Ray Tune scheduler. Decided here:

- Ray Tune's snapshot of a sweep leaves the scheduler out (ray issue 30838), so after a resume it
  would compare a trial with none. Each scheduler reads what a trial has reported, from the trial's
  folder, when Tune adds the trial.
- A trial that confirms a configuration is exempt: it is never stopped.
- A trial that reaches its last step ends by itself, not by the scheduler.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from deepicd.config import Experiment
from deepicd.sweeps.results.ranking import is_fresh
from deepicd.sweeps.results.trials import read_history
from deepicd.training.grpo.metric_names import OBJECTIVE, validation
from deepicd.upstream import require_version

_RAY = "2.60.0"

_IsExempt = Callable[[Mapping[str, Any]], bool]
"""Whether a trial with these parameters is never to be stopped."""


def _no_exemption(_: Mapping[str, Any]) -> bool:
    """No trial is exempt."""
    return False


class ResumableASHA(ASHAScheduler):
    """ASHA that knows earlier reports after a resume, and never stops an exempt trial.

    It feeds them to `on_trial_result` before the trial runs. Ray's ASHA keeps a trial's first score
    at each rung, and answers without the controller; both are private to its version.
    """

    def __init__(self, *, is_exempt: _IsExempt = _no_exemption, **arguments: Any) -> None:
        require_version("ray", _RAY, "the scheduler ResumableASHA")
        super().__init__(**arguments)
        self._is_exempt = is_exempt

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Take in what the trial reported before the sweep was interrupted, if it is not new."""
        super().on_trial_add(tune_controller, trial)
        for row in _reports_on_disk(trial):
            super().on_trial_result(tune_controller, trial, row)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Continue, or stop."""
        if self._is_exempt(trial.config):
            return str(TrialScheduler.CONTINUE)
        return str(super().on_trial_result(tune_controller, trial, result))


class ResumableMedian(MedianStoppingRule):
    """The median stopping rule that compares at validations only, knows earlier reports after a
    resume, and never stops an exempt trial.

    Between validations a report repeats the last objective, and before the first it has NaN. Ray's
    rule takes NaN for a trial's best and would stop the trial. While few trials can be compared,
    Ray's rule pauses a trial for a waiting one (Ray 2.60); here trials never wait for each other.
    """

    def __init__(
        self, validation: str, *, is_exempt: _IsExempt = _no_exemption, **arguments: Any
    ) -> None:
        require_version("ray", _RAY, "the scheduler ResumableMedian")
        super().__init__(**arguments)
        self._validation = validation
        self._is_exempt = is_exempt

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Take in what the trial reported before the sweep was interrupted, if it is not new."""
        super().on_trial_add(tune_controller, trial)
        for row in _reports_on_disk(trial):
            if self._validation in row:
                # Ray's on_trial_complete appends the report and decides nothing; its
                # on_trial_result could decide to stop a trial that goes on.
                super().on_trial_complete(tune_controller, trial, row)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Continue, or stop."""
        if self._validation not in result or self._is_exempt(trial.config):
            return str(TrialScheduler.CONTINUE)
        return str(super().on_trial_result(tune_controller, trial, result))

    def _on_insufficient_samples(self, *_: Any) -> str:
        return str(TrialScheduler.CONTINUE)


def _reports_on_disk(trial: Any) -> list[dict[str, Any]]:
    """What a trial reported before its sweep was interrupted; a new one has no folder yet."""
    try:
        return read_history(Path(trial.path))
    except RuntimeError:  # Ray's Trial.path raises it until the trial has a folder
        return []


def stopping_steps(experiment: Experiment) -> list[int]:
    """Steps after which a trial may be stopped, in order; empty without a scheduler. ASHA's rungs
    are its grace period times powers of its reduction factor; the median rule compares at every
    validation from its grace period on.
    """
    sweep, training = experiment.sweep, experiment.training
    if sweep.scheduler == "none":
        return []
    if sweep.scheduler == "median":
        steps = range(training.validate_every, training.total_steps, training.validate_every)
        return [step for step in steps if step >= sweep.grace_steps]
    rungs, step = [], sweep.grace_steps
    while step < training.total_steps:
        rungs.append(step)
        step *= sweep.reduction_factor
    return rungs


def build_scheduler(experiment: Experiment) -> TrialScheduler:
    """ASHA or the median stopping rule on GRPO steps, or none."""
    sweep = experiment.sweep
    if sweep.scheduler == "none":
        return FIFOScheduler()
    arguments: dict[str, Any] = {
        "is_exempt": partial(is_fresh, experiment=experiment),
        "time_attr": "step",
        "metric": OBJECTIVE,
        "mode": "max",
        "grace_period": sweep.grace_steps,
    }
    if sweep.scheduler == "median":
        # Two others, where Tune's default of three would compare nobody in a sweep of three.
        return ResumableMedian(validation(sweep.metric), min_samples_required=2, **arguments)
    # Ray's ASHA stops a trial at max_t; one step more, and the trial ends by itself.
    return ResumableASHA(
        max_t=experiment.training.total_steps + 1,
        reduction_factor=sweep.reduction_factor,
        **arguments,
    )
