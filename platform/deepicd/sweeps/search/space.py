"""The search space of an experiment in Optuna's terms: what a trial is asked for, and by which
sampler.

Keys are dotted experiment addresses (`rewards.weights.hierarchy`), so that a parameter that maps to
nothing is refused when the file is read, and a trial's values travel to verl as values.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import exp, log
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
    Space,
    draw_trial,
)
from deepicd.errors import Fault

_STARTUP_TRIALS = 5
"""Random trials before TPE has something to learn from."""
_LISTED = 100_000
"""Trials of a grid that are listed to be shuffled; of a larger one numbers are drawn."""


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


def grid_trials(experiment: Experiment, number: int) -> list[dict[str, Scalar]]:
    """That many trials of a grid, each once, without those of an earlier sweep; the seed decides
    which and in what order. Fewer where the grid has no more.
    """
    space, told = _grid(experiment)
    rng, chosen = Random(experiment.seed), list[dict[str, Scalar]]()
    for place in _shuffled(space.size, rng):
        if len(chosen) == number:
            break
        trial = space.trial(place)
        chosen += [] if trial in told else [trial]
    return chosen


def unseen_trial(
    experiment: Experiment, proposed: Sequence[Mapping[str, Scalar]]
) -> dict[str, Scalar] | None:
    """A trial that was not proposed, by the experiment's seed; None where all were, or where ranges
    are continuous, so that equal trials are no matter of chance.
    """
    search = experiment.sweep.search
    if any(isinstance(domain, FloatRange) for domain in search.values()):
        return None
    space = Space(search, points)
    numbers = _shuffled(space.size, Random(experiment.seed))
    return next((trial for trial in map(space.trial, numbers) if trial not in proposed), None)


def _grid(experiment: Experiment) -> tuple[Space, list[dict[str, Scalar]]]:
    """A grid, and those of its trials that an earlier sweep ran."""
    space = Space(experiment.sweep.search, points)
    told = [trial.params for trial in experiment.sweep.warm_start_trials]
    distinct = [trial for at, trial in enumerate(told) if trial not in told[:at]]
    return space, [trial for trial in distinct if trial in space]


def _shuffled(size: int, rng: Random) -> Iterator[int]:
    """Every number below `size` once, in a random order; a large one is never listed."""
    if size <= _LISTED:
        numbers = list(range(size))
        rng.shuffle(numbers)
        yield from numbers
        return
    seen = set[int]()
    while len(seen) < size:
        if (number := rng.randrange(size)) not in seen:
            seen.add(number)
            yield number


def points(domain: Domain) -> Sequence[Scalar]:
    """Values of one domain in a grid, each once: all of a choice or an integer range, `num_points`
    of a continuous one.
    """
    if isinstance(domain, Choice):
        return domain.values
    if not isinstance(domain, FloatRange):
        return range(domain.low, domain.high + 1)
    low, high, last = domain.low, domain.high, domain.num_points - 1
    shares = [number / last for number in range(1, last)]
    if domain.type == "uniform":
        inner = [low + (high - low) * share for share in shares]
    else:
        # By logarithms: the ratio of the ends may be more than a float holds.
        inner = [exp(log(low) + (log(high) - log(low)) * share) for share in shares]
    # The ends as they stand: computed, they could lie outside by a rounding. In a narrow range
    # neighbours may be one float.
    return list(dict.fromkeys((low, *inner, high)))


def grid_faults(experiment: Experiment) -> Iterator[Fault]:
    """A grid that has fewer points than the sweep has trials."""
    sweep = experiment.sweep
    if sweep.sampler != "grid":
        return
    space, told = _grid(experiment)
    size = space.size - len(told)
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
