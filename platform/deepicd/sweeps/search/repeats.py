"""The searcher that repeats configurations: with several seeds, and the best again at the end.

In: a searcher of configurations. Out: trials, one after the other, each with its `seed`. A proposed
configuration runs with the seeds `seed`, `seed` + 1, …, and the inner searcher, which knows its
first trial only, is told the mean. When all proposed trials are over, the best `confirm_top` of
them run again with the seeds after these, and nobody is told. Decided here: the seed changes what a
trial samples; notes, splits and start model are the run's, made from the experiment's own seed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from ray.tune.search import Searcher as TuneSearcher

from deepicd.config import Experiment, Scalar
from deepicd.records import Checkpoint, Trial
from deepicd.sweeps.results.decision import SEED, rank
from deepicd.sweeps.search.searcher import Searcher


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


class Repeats(TuneSearcher):
    """Wraps a searcher; Ray Tune saves and restores both (`SearchGenerator.save_to_dir`)."""

    def __init__(self, searcher: Searcher, experiment: Experiment) -> None:
        super().__init__(metric=searcher.metric, mode=searcher.mode)
        self.searcher = searcher
        self._experiment = experiment
        self._groups: list[_Group] = []
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
            if any(None in group.reached.values() for group in self._groups):
                return None
            self._reruns = self._choose()
        return self._reruns.pop(0) if self._reruns else TuneSearcher.FINISHED

    def _choose(self) -> list[dict[str, Scalar]]:
        """The best configurations so far, each with its fresh seeds."""
        sweep, first = self._experiment.sweep, self._experiment.seed
        scored = [
            Trial(name, group.params, "", 0, reached, Checkpoint("", 0))
            for group in self._groups
            for name, reached in group.reached.items()
            if reached
        ]
        best = rank(scored, self._experiment)[: sweep.confirm_top]
        seeds = range(first + sweep.num_seeds, first + sweep.num_seeds + sweep.confirm_seeds)
        return [{**one.params, SEED: seed} for one in best for seed in seeds]

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Hand a report on."""
        self.searcher.on_trial_result(trial_id, result)

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


def repeat(searcher: Searcher, experiment: Experiment) -> TuneSearcher:
    """The searcher itself where the experiment repeats nothing."""
    sweep = experiment.sweep
    is_repeated = sweep.num_seeds > 1 or sweep.confirm_top > 0
    return Repeats(searcher, experiment) if is_repeated else searcher
