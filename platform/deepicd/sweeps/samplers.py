"""Who proposes a trial's values: Optuna's samplers, seeded by the experiment.

In: an experiment. Out: an Optuna sampler. Decided here: what the grid of a domain is. A sampler
sees the trials of its own sweep only.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deepicd.config import Choice, Domain, Experiment, FloatRange, Scalar, SweepConfig
from deepicd.errors import ConfigError

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

_STARTUP_TRIALS = 5
"""Random trials before TPE has something to learn from."""


def build_sampler(experiment: Experiment) -> "BaseSampler":
    """The sampler that `sweep.sampler` names."""
    from optuna import samplers

    sweep, seed = experiment.sweep, experiment.seed
    if sweep.sampler == "random":
        return samplers.RandomSampler(seed=seed)
    if sweep.sampler == "sobol":
        independent = samplers.RandomSampler(seed=seed)
        return samplers.QMCSampler(
            qmc_type="sobol",
            scramble=True,
            seed=seed,
            independent_sampler=independent,
            warn_independent_sampling=False,  # a choice has no place in a sequence of numbers
        )
    if sweep.sampler == "grid":
        return _grid_sampler(grid(sweep.search), seed)
    return samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP_TRIALS)


def _grid_sampler(values: Mapping[str, list[Scalar]], seed: int) -> "BaseSampler":
    """Optuna's, without its call that stops a study after the last point: only `optimize` has one
    to stop, and Tune asks by itself.
    """
    from optuna.samplers import GridSampler

    class AskedGridSampler(GridSampler):
        def after_trial(self, *_: Any) -> None:
            """Nothing."""

    return AskedGridSampler(values, seed=seed)


def grid(search: Mapping[str, Domain]) -> dict[str, list[Scalar]]:
    """Address → the values of a grid."""
    return {address: points(domain) for address, domain in search.items()}


def points(domain: Domain) -> list[Scalar]:
    """Values of one domain in a grid: all of a choice or an integer range, `num_points` of a
    continuous one.
    """
    if isinstance(domain, Choice):
        return list(domain.values)
    if not isinstance(domain, FloatRange):
        return list(range(domain.low, domain.high + 1))
    last = domain.num_points - 1
    if domain.type == "uniform":
        width = domain.high - domain.low
        inner = [domain.low + width * number / last for number in range(1, last)]
    else:
        ratio = domain.high / domain.low
        inner = [domain.low * ratio ** (number / last) for number in range(1, last)]
    return [domain.low, *inner, domain.high]


def check_sampler(sweep: SweepConfig) -> None:
    """Raise ConfigError where a grid has fewer points than the sweep has trials."""
    if sweep.sampler != "grid":
        return
    size = math.prod(len(values) for values in grid(sweep.search).values())
    if sweep.num_trials > size:
        raise ConfigError(
            f"sweep.num_trials is {sweep.num_trials}, but the grid of [sweep.search] has {size} "
            f"points; set sweep.num_trials = {size}, or more num_points or values"
        )
