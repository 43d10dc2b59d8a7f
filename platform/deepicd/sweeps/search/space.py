"""The search space of an experiment in Optuna's terms: what a trial is asked for, and by which
sampler.

Keys are dotted experiment addresses (`rewards.weights.hierarchy`), so that a parameter that maps to
nothing is refused when the file is read, and a trial's values travel to verl as values.
"""

from collections.abc import Iterator
from functools import partial
from random import Random
from typing import Any

from optuna import samplers

from deepicd.config import (
    Choice,
    Domain,
    Experiment,
    FloatRange,
    Scalar,
    Search,
    distinct_trials,
    draw_trial,
)
from deepicd.errors import Fault

_STARTUP_TRIALS = 5
"""Random trials before TPE has something to learn from."""


def suggest(trial: Any, search: Search) -> dict[str, Scalar]:
    """One trial's values, asked of an Optuna trial address by address: those whose condition holds.

    Optuna's samplers see a parameter only where it was asked for.
    """
    return draw_trial(search, partial(_ask, trial))


def distributions(search: Search) -> dict[str, Any]:
    """Address → domain in Optuna's terms; integer ranges include both ends."""
    from optuna.trial import FixedTrial

    firsts = {
        address: domain.values[0] if isinstance(domain, Choice) else domain.low
        for address, domain in search.items()
    }
    # Optuna makes a distribution when a trial is asked; a fixed trial is asked without a study.
    trial = FixedTrial(firsts)
    for address, domain in search.items():
        _ask(trial, address, domain)
    return dict(trial.distributions)


def _ask(trial: Any, address: str, domain: Domain) -> Scalar:
    if isinstance(domain, Choice):
        value: Scalar = trial.suggest_categorical(address, domain.values)
    elif isinstance(domain, FloatRange):
        is_log = domain.type == "loguniform"
        value = trial.suggest_float(address, domain.low, domain.high, log=is_log)
    else:
        value = trial.suggest_int(address, domain.low, domain.high)
    return value


def grid_trials(experiment: Experiment) -> list[dict[str, Scalar]]:
    """Every trial of a grid once, but those of an earlier sweep; the seed decides the order."""
    told = [trial.params for trial in experiment.sweep.warm_start_trials]
    trials = [
        trial for trial in distinct_trials(experiment.sweep.search, points) if trial not in told
    ]
    Random(experiment.seed).shuffle(trials)
    return trials


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
    # The ends as they stand: computed, they could lie outside by a rounding.
    return [domain.low, *inner, domain.high]


def grid_faults(experiment: Experiment) -> Iterator[Fault]:
    """A grid that has fewer points than the sweep has trials."""
    sweep = experiment.sweep
    if sweep.sampler != "grid":
        return
    size = len(grid_trials(experiment))
    if sweep.num_trials > size:
        left = " left" if sweep.warm_start_trials else ""
        yield Fault(
            "sweep.num_trials",
            f"sweep.num_trials is {sweep.num_trials}, but the grid of [sweep.search] has {size} "
            f"points{left}",
            f"set sweep.num_trials = {size}, or more num_points or values",
            sweep.num_trials,
        )


class _SobolSampler(samplers.QMCSampler):
    """Optuna's Sobol sampler, over the whole space from the first trial on.

    Optuna's own takes the parameters of the first trial for the whole space, and draws that trial
    by chance.
    """

    def __init__(self, search: Search, *, seed: int) -> None:
        # Optuna's seed acts on the scrambling only.
        super().__init__(qmc_type="sobol", scramble=True, seed=seed)
        self._search = search

    def infer_relative_search_space(self, *_: Any) -> dict[str, Any]:
        """Every parameter, whether its condition holds or not."""
        return distributions(self._search)


def build_sampler(experiment: Experiment) -> samplers.BaseSampler:
    """The sampler that `sweep.sampler` names; a grid's trials are queued (`grid_trials`), so that
    it has none to propose.
    """
    sweep, seed = experiment.sweep, _sampler_seed(experiment)
    if sweep.sampler == "sobol":
        return _SobolSampler(sweep.search, seed=seed)
    if sweep.sampler == "tpe":
        return samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP_TRIALS)
    return samplers.RandomSampler(seed=seed)


def _sampler_seed(experiment: Experiment) -> int:
    """Seed of the sampler. After an earlier sweep it is another one than the experiment's, or the
    first proposals would be that sweep's own.
    """
    # Not `hash`: it differs from process to process, and a resume needs the same seed.
    sources = [trial.source for trial in experiment.sweep.warm_start_trials]
    # 31 bits: numpy takes no seed from 2**32 on.
    return Random(repr(sources)).getrandbits(31) ^ experiment.seed if sources else experiment.seed
