"""Who proposes a trial's values: Optuna's samplers, seeded by the experiment."""

from random import Random
from typing import Any

from optuna import samplers

from deepicd.config import Experiment, Search
from deepicd.sweeps.search.space import distributions

_STARTUP_TRIALS = 5
"""Random trials before TPE has something to learn from."""


class SobolSampler(samplers.QMCSampler):
    """Optuna's, over the whole space from the first trial on: by itself it takes the parameters of
    the first trial for all there are, and draws that trial by chance.
    """

    def __init__(self, search: Search, *, seed: int) -> None:
        super().__init__(qmc_type="sobol", scramble=True, seed=seed)
        self._search = search

    def infer_relative_search_space(self, *_: Any) -> dict[str, Any]:
        """Every parameter, whether its condition holds or not."""
        return distributions(self._search)


def build_sampler(experiment: Experiment) -> samplers.BaseSampler:
    """The sampler that `sweep.sampler` names; a grid's trials are queued (`sweeps.grid`), so that
    none is left to propose.
    """
    sweep, seed = experiment.sweep, seed_of(experiment)
    if sweep.sampler == "sobol":
        return SobolSampler(sweep.search, seed=seed)
    if sweep.sampler == "tpe":
        return samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP_TRIALS)
    return samplers.RandomSampler(seed=seed)


def seed_of(experiment: Experiment) -> int:
    """Seed of the sampler. After an earlier sweep it is another one than the experiment's, or the
    first proposals would be that sweep's own.
    """
    sources = [trial.source for trial in experiment.sweep.earlier]
    return Random(repr(sources)).getrandbits(31) ^ experiment.seed if sources else experiment.seed
