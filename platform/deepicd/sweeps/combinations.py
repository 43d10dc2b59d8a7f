"""Values that are fine one by one and cannot go together, found before a trial draws them.

Only whole numbers and sets of values can fail together: batch sizes that do not divide, reward
weights that are all 0. All their combinations are looked at, not only the ends.
"""

from functools import partial

from deepicd.config import (
    Choice,
    Domain,
    Experiment,
    FloatRange,
    Scalar,
    all_values,
    distinct_trials,
    draw_trial,
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
    """Every combination of batch sizes that a trial can have, with what they depend on."""
    search = experiment.sweep.search
    searched = with_parents(search, [address for address in _BATCHES if address in search])
    return distinct_trials(searched, all_values)


def _check_weights(experiment: Experiment) -> None:
    """All weights 0 at once: a point of a grid, or of choices; chance never hits an end."""
    least = partial(_least, is_grid=experiment.sweep.sampler == "grid")
    trial = draw_trial(experiment.sweep.search, lambda _, domain: least(domain))
    lowest = {
        address.removeprefix(_WEIGHT): float(value)
        for address, value in trial.items()
        if address.startswith(_WEIGHT)
    }
    preset = trial.get("rewards.preset", experiment.rewards.preset)
    try:
        resolve_weights(str(preset), {**experiment.rewards.weights, **lowest})
    except ConfigError as error:
        raise ConfigError(
            f"[sweep.search] at the least of every weight: {error} In every trial: give one part a "
            "weight that is not searched, or raise the least value of one that is"
        ) from None


def _least(domain: Domain, *, is_grid: bool) -> Scalar:
    if isinstance(domain, Choice):
        numbers = [value for value in domain.values if not isinstance(value, str)]
        return min(numbers, default=domain.values[0])
    return domain.low if is_grid or not isinstance(domain, FloatRange) else domain.high
