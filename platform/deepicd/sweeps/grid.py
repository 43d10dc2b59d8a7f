"""The trials of `sweep.sampler = "grid"`.

In: an experiment. Out: its trials. Decided here: what the grid of a domain is.
"""

from random import Random

from deepicd.config import (
    Choice,
    Domain,
    Experiment,
    FloatRange,
    Scalar,
    distinct_trials,
)
from deepicd.errors import ConfigError


def grid_trials(experiment: Experiment) -> list[dict[str, Scalar]]:
    """Every trial of a grid once, but those of an earlier sweep; the seed decides the order."""
    known = [trial.params for trial in experiment.sweep.earlier]
    trials = [
        trial for trial in distinct_trials(experiment.sweep.search, points) if trial not in known
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
    return [domain.low, *inner, domain.high]


def check_grid(experiment: Experiment) -> None:
    """Raise ConfigError where a grid has fewer points than the sweep has trials."""
    sweep = experiment.sweep
    if sweep.sampler != "grid":
        return
    size = len(grid_trials(experiment))
    if sweep.num_trials > size:
        raise ConfigError(
            f"sweep.num_trials is {sweep.num_trials}, but the grid of [sweep.search] has {size} "
            f"points{' left' if sweep.earlier else ''}; set sweep.num_trials = {size}, or more "
            "num_points or values"
        )
