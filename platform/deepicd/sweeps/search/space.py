"""Search space of an experiment → what Optuna is asked for, and a trial's parameters → its
experiment.

Keys are dotted experiment addresses (`rewards.weights.hierarchy`), so that a parameter that maps to
nothing is refused when the file is read, and a trial's values travel to verl as values.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from deepicd.config import (
    Choice,
    Domain,
    Experiment,
    FloatRange,
    Scalar,
    Search,
    draw_trial,
    with_values,
)


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


def trial_experiment(experiment: Experiment, params: Mapping[str, Scalar]) -> Experiment:
    """The experiment that one trial runs: the sweep's, with the sampled values in their places."""
    return with_values(experiment, params, place="sampled parameters")
