"""Values that are fine one by one and cannot go together, found before a trial draws them.

Only whole numbers and sets of values can fail together: batch sizes that do not divide, reward
weights that are all 0. All their combinations are looked at, not only the ends.
"""

from deepicd.config import (
    Choice,
    Domain,
    Experiment,
    FloatRange,
    Scalar,
    all_values,
    distinct_trials,
    with_parents,
    with_values,
)
from deepicd.errors import ConfigError
from deepicd.rewards import resolve_weights

_BATCHES = (
    "training.train_batch_size",
    "training.ppo_mini_batch_size",
    "training.ppo_micro_batch_size_per_gpu",
    "training.rollout_n",
)
_WEIGHT = "rewards.weights."


def check_combinations(experiment: Experiment) -> None:
    """Raise ConfigError for searched values that cannot go together in one trial."""
    for values in combinations(experiment):
        place = ", ".join(f"{address} = {value}" for address, value in values.items())
        with_values(experiment, values, place=f"[sweep.search] {place}")
    _check_weights(experiment)


def combinations(experiment: Experiment) -> list[dict[str, Scalar]]:
    """Every combination of the batch sizes that the sweep searches, with what they depend on."""
    search = experiment.sweep.search
    searched = [address for address in _BATCHES if address in search]
    return distinct_trials(with_parents(search, searched), all_values)


def _check_weights(experiment: Experiment) -> None:
    """All weights 0 at once: a point of a grid, or of choices; chance never hits an end."""
    lowest = {
        address.removeprefix(_WEIGHT): _least(domain, is_grid=experiment.sweep.sampler == "grid")
        for address, domain in experiment.sweep.search.items()
        if address.startswith(_WEIGHT)
    }
    try:
        resolve_weights(experiment.rewards.preset, {**experiment.rewards.weights, **lowest})
    except ConfigError as error:
        raise ConfigError(
            f"[sweep.search] at the least of every weight: {error} In every trial: give one part a "
            "weight that is not searched, or raise the least value of one that is"
        ) from None


def _least(domain: Domain, *, is_grid: bool) -> float:
    if isinstance(domain, Choice):
        return min(map(float, domain.values))
    return float(domain.low if is_grid or not isinstance(domain, FloatRange) else domain.high)
