"""A cap on the GPU-hours of a sweep: a trial starts only while the rest could hold a whole one.

In: a searcher and the sweep's folder. Out: the searcher's trials, until the budget is committed.
Decided here: what a whole trial takes is the most that one took so far, for all its steps; the
first ones start unmeasured. A trial that runs is not stopped, so that a cap holds up to what the
last trials take beyond the estimate. Time that a sweep was interrupted does not count.
"""

import logging
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher as TuneSearcher

from deepicd.config import Experiment
from deepicd.paths import TUNE
from deepicd.sweeps.results.trials import read_history, seconds_spent

_log = logging.getLogger(__name__)


class Budget(TuneSearcher):
    """Wraps a searcher; Ray Tune saves and restores both (`SearchGenerator.save_to_dir`)."""

    def __init__(self, searcher: TuneSearcher, experiment: Experiment, *, storage: Path) -> None:
        super().__init__(metric=searcher.metric, mode=searcher.mode)
        self.searcher = searcher
        self._experiment = experiment
        self._tune = storage.resolve() / TUNE
        self._over: dict[str, float] = {}
        self._running: set[str] = set()
        self._whole = 0.0

    def suggest(self, trial_id: str) -> Any:
        """Parameters of a trial, None to wait, or `FINISHED`, also when the budget is committed."""
        committed, cap = self._committed(), self._experiment.sweep.gpu_hours_cap
        if committed + self._whole > cap:
            if self._running:  # one that ends early may leave room
                return None
            _log.info(
                f"no further trial: {committed:.2f} of {cap:.2f} GPU-hours are spent and a whole "
                f"trial takes up to {self._whole:.2f}"
            )
            return TuneSearcher.FINISHED
        values = self.searcher.suggest(trial_id)
        if isinstance(values, dict):
            self._running.add(trial_id)
        return values

    def _committed(self) -> float:
        """GPU-hours spent by trials that are over, and those that running ones may come to."""
        spent = {trial: self._measure(trial) for trial in self._running}
        return sum(self._over.values()) + sum(max(hours, self._whole) for hours in spent.values())

    def _measure(self, trial: str) -> float:
        """GPU-hours of a trial so far; a longer one changes what a whole trial takes."""
        folder, training = self._tune / trial, self._experiment.training
        hours = seconds_spent(folder) * training.world_size / 3600
        history = read_history(folder)
        steps = int(history[-1]["step"]) if history else 0
        if steps:
            self._whole = max(self._whole, hours * training.total_steps / steps)
        return hours

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Hand a report on."""
        self.searcher.on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Settle what a trial took."""
        self._running.discard(trial_id)
        self._over[trial_id] = self._measure(trial_id)
        self.searcher.on_trial_complete(trial_id, result, error)

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Hand the search space on."""
        return bool(self.searcher.set_search_properties(metric, mode, config, **spec))

    def get_state(self) -> dict[str, Any]:
        """What Tune saves beside the inner searcher."""
        return {name: value for name, value in vars(self).items() if name != "searcher"}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.__dict__.update(state)

    def save(self, checkpoint_path: str) -> None:
        """Save the inner searcher."""
        self.searcher.save(checkpoint_path)

    def restore(self, checkpoint_path: str) -> None:
        """Restore the inner searcher."""
        self.searcher.restore(checkpoint_path)


def within_budget(searcher: TuneSearcher, experiment: Experiment, *, storage: Path) -> TuneSearcher:
    """The searcher itself where the experiment sets no cap."""
    if experiment.sweep.gpu_hours_cap == float("inf"):
        return searcher
    return Budget(searcher, experiment, storage=storage)
