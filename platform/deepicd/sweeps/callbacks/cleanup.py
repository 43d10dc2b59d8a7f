"""Frees what a trial held when it ends: its placement group, its worker, and verl's processes.

In: Ray Tune's reports, in which each trial names its placement group. Out: the group is removed,
which kills the worker, and verl's processes are told to stop the trial, so that the next one can
reuse them. Decided here: this is needed because Ray Train makes the group from inside the sweep's
Ray job. When Tune stops a trial early, the Train controller dies and the group stays, with the
worker's CPU in it (ray issue 54305).
"""

from typing import Any

from ray import tune

from deepicd.clusters.state import remove_groups
from deepicd.training.grpo.metric_names import PLACEMENT_GROUP
from deepicd.training.process.pool import stop_trial


class CleanUpTrial(tune.Callback):
    """Removes a trial's placement group when the trial is over."""

    def __init__(self) -> None:
        self._groups: dict[str, set[str]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without the groups: a sweep resumes in another cluster."""
        return {"_groups": {}}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        """Note the group; a restarted worker reports a new one."""
        if group := result.get(PLACEMENT_GROUP):
            self._groups.setdefault(trial.trial_id, set()).add(group)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Free a trial that finished or was stopped."""
        stop_trial(trial.trial_id)
        remove_groups(self._groups.pop(trial.trial_id, ()))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Free a trial that failed."""
        self.on_trial_complete(iteration, trials, trial)

    def on_experiment_end(self, trials: list[Any], **_: Any) -> None:
        """Free what a sweep that ends by an error leaves: Tune then calls no trial complete."""
        # A list, since the loop takes each one out.
        for name in list(self._groups):
            stop_trial(name)
            remove_groups(self._groups.pop(name))
