"""The searcher that stops proposing trials when the GPU-hours of a sweep are spent.

In: a searcher and the sweep's folder. Out: the searcher's trials, until the budget is committed.
Decided here:

- A trial starts only while the rest of the cap could hold a whole trial. SFT and evaluation have
  their share of the cap (`search.caps`).
- A whole trial takes what the longest one took so far, scaled to all steps, and no more than the
  cap of one trial. The first trials start unmeasured.
- A trial that runs when the cap is reached is ended by `EndAtCap`.
- Time between an interruption and the resume does not count.
"""

import logging
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher as TuneSearcher

from deepicd.config import Experiment
from deepicd.paths import TUNE
from deepicd.sweeps.results.trials import read_history, seconds_spent
from deepicd.sweeps.search.caps import read_caps
from deepicd.sweeps.search.wrapper import SearcherWrapper

_log = logging.getLogger(__name__)


class Budget(SearcherWrapper[TuneSearcher]):
    """Proposes the inner searcher's trials while GPU-hours are left."""

    def __init__(self, searcher: TuneSearcher, experiment: Experiment, *, storage: Path) -> None:
        super().__init__(searcher, experiment)
        self._storage = storage.resolve()
        self._ended_gpu_hours: dict[str, float] = {}
        self._running: set[str] = set()
        self._whole_trial = 0.0
        """GPU-hours of a whole trial."""

    def suggest(self, trial_id: str) -> Any:
        """Parameters of a trial, None to wait, or `FINISHED`, also when the budget is committed."""
        committed, cap = self._committed(), read_caps(self._storage).trials
        if committed + self._whole_trial > cap:
            if self._running:  # a running trial that ends early leaves GPU-hours
                return None
            _log.info(
                f"no further trial: {committed:.2f} of {cap:.2f} GPU-hours are spent and a whole "
                f"trial takes up to {self._whole_trial:.2f}"
            )
            return TuneSearcher.FINISHED
        values = self.searcher.suggest(trial_id)
        # Neither None nor FINISHED is a trial.
        if isinstance(values, dict):
            self._running.add(trial_id)
        return values

    def _committed(self) -> float:
        """GPU-hours spent by trials that are over, and those that running ones may come to."""
        # All are measured first: each one may raise what a whole trial takes.
        spent = {trial: self._measure(trial) for trial in self._running}
        return sum(self._ended_gpu_hours.values()) + sum(
            max(hours, self._whole_trial) for hours in spent.values()
        )

    def _measure(self, trial: str, last: dict[str, Any] | None = None) -> float:
        """GPU-hours of a trial so far; a longer one changes what a whole trial takes."""
        folder, training = self._storage / TUNE / trial, self._experiment.training
        hours = seconds_spent(folder, last) * training.world_size / 3600
        history = [last] if last else read_history(folder)
        steps = int(history[-1]["step"]) if history else 0
        if steps:
            whole = min(hours * training.total_steps / steps, read_caps(self._storage).trial)
            self._whole_trial = max(self._whole_trial, whole)
        return hours

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Settle what a trial took."""
        self._running.discard(trial_id)
        self._ended_gpu_hours[trial_id] = self._measure(trial_id, result)
        self.searcher.on_trial_complete(trial_id, result, error)


def within_budget(searcher: TuneSearcher, experiment: Experiment, *, storage: Path) -> TuneSearcher:
    """The searcher itself where the experiment sets no cap."""
    if experiment.sweep.gpu_hours_cap == float("inf"):
        return searcher
    return Budget(searcher, experiment, storage=storage)
