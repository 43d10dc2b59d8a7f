"""Search space of an experiment → Ray Tune's domains, and a trial's parameters → its experiment.

Keys are dotted experiment addresses (`rewards.weights.hierarchy`), so that a parameter that maps to
nothing is refused when the file is read, and a trial's values travel to verl as values.
"""

from collections.abc import Mapping
from typing import Any

from ray import tune

from deepicd.config import Choice, Domain, Experiment, FloatRange, Scalar, with_values


def build_space(experiment: Experiment) -> dict[str, Any]:
    """Tune's parameter space."""
    return {address: build_domain(domain) for address, domain in experiment.sweep.search.items()}


def build_domain(domain: Domain) -> Any:
    """One domain in Tune's terms; integer ranges include both ends."""
    if isinstance(domain, Choice):
        return tune.choice(list(domain.values))
    if isinstance(domain, FloatRange):
        sample = tune.uniform if domain.type == "uniform" else tune.loguniform
        return sample(domain.low, domain.high)
    return tune.randint(domain.low, domain.high + 1)


def trial_experiment(experiment: Experiment, params: Mapping[str, Scalar]) -> Experiment:
    """The experiment that one trial runs: the sweep's, with the sampled values in their places."""
    return with_values(experiment, params, place="sampled parameters")
