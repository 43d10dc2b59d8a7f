"""The searcher that repeats configurations: with several seeds, and the best again at the end.

In: a searcher of configurations. Out: trials, one after the other, each with its `seed`. Decided
here:

- A proposed configuration runs with the seeds `seed`, `seed` + 1, …. The inner searcher knows only
  its first trial, and is told the mean.
- When all proposed trials are over, the best `confirm_top` configurations run again with the seeds
  after these. The inner searcher is not told of them.
- The seed changes what a trial samples. Notes, splits and start model are the run's, made from the
  experiment's own seed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from ray.tune.search import Searcher as TuneSearcher

from deepicd.config import Experiment, Scalar
from deepicd.sweeps.results.ranking import SEED, ScoredTrial, rank
from deepicd.sweeps.search.searcher import Searcher
from deepicd.sweeps.search.wrapper import SearcherWrapper


@dataclass
class _Group:
    """A proposed configuration and its trials, in the order of their seeds."""

    params: Mapping[str, Scalar]
    reached: dict[str, dict[str, float] | None] = field(default_factory=dict)
    """Trial → its objectives; empty where it failed or has none, None while it runs."""

    @property
    def first(self) -> str:
        """The trial by which the inner searcher knows this configuration."""
        return next(iter(self.reached))


class Repeats(SearcherWrapper[Searcher]):
    """Proposes every configuration of the inner searcher once for each seed."""

    def __init__(self, searcher: Searcher, experiment: Experiment) -> None:
        super().__init__(searcher, experiment)
        self._groups: list[_Group] = []
        # Chosen once and kept in the state: a resume must not choose anew.
        self._reruns: list[dict[str, Scalar]] | None = None

    def suggest(self, trial_id: str) -> Any:
        """Parameters of a trial, None to wait for running ones, or `FINISHED`."""
        sweep = self._experiment.sweep
        if not self._groups or len(self._groups[-1].reached) == sweep.num_seeds:
            if len(self._groups) == sweep.num_trials:
                return self._confirm()
            params = self.searcher.suggest(trial_id)
            if params is None:
                return None
            self._groups.append(_Group(params))
        group = self._groups[-1]
        seed = self._experiment.seed + len(group.reached)
        group.reached[trial_id] = None
        return {**group.params, SEED: seed}

    def _confirm(self) -> Any:
        if self._reruns is None:
            # The best are known only when nobody runs any more.
            if any(None in group.reached.values() for group in self._groups):
                return None
            self._reruns = self._choose()
        return self._reruns.pop(0) if self._reruns else TuneSearcher.FINISHED

    def _choose(self) -> list[dict[str, Scalar]]:
        """The best configurations so far, each with its fresh seeds."""
        sweep, first = self._experiment.sweep, self._experiment.seed
        scored = [
            ScoredTrial(name, group.params, reached[sweep.metric])
            for group in self._groups
            for name, reached in group.reached.items()
            if reached
        ]
        best = rank(scored, self._experiment)[: sweep.confirm_top]
        seeds = range(first + sweep.num_seeds, first + sweep.num_seeds + sweep.confirm_seeds)
        return [{**ranked.params, SEED: seed} for ranked in best for seed in seeds]

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Once all seeds of a configuration are over, tell the inner searcher their mean; those
        that failed are left out.
        """
        for group in self._groups:
            if trial_id in group.reached:
                reached = {} if error else self.searcher.reached(trial_id, result)
                group.reached[trial_id] = reached
                self._tell(group)

    def _tell(self, group: _Group) -> None:
        over = [reached for reached in group.reached.values() if reached is not None]
        if len(over) == self._experiment.sweep.num_seeds:
            scored = [reached for reached in over if reached]
            names = scored[0] if scored else ()
            mean = {name: fmean(reached[name] for reached in scored) for name in names}
            self.searcher.tell(group.first, mean)


def repeat(searcher: Searcher, experiment: Experiment) -> TuneSearcher:
    """The searcher itself where the experiment repeats nothing."""
    sweep = experiment.sweep
    is_repeated = sweep.num_seeds > 1 or sweep.confirm_top > 0
    return Repeats(searcher, experiment) if is_repeated else searcher
