"""Every reward that a sweep may train with, as far as its ends say.

In: an experiment. Out: its own reward, and those at the ends of what its search decides of
`[rewards]`. Decided here: a total is linear in each weight, and so is the difference of two totals.
Where an answer earns no more than another at every corner of the weights' domains it does so
nowhere between them, so the corners are enough. The curve is not linear and is looked at in its
ends only.
"""

from deepicd.config import (
    Experiment,
    RewardConfig,
    Scalar,
    Space,
    all_values,
    with_parents,
    with_values,
)
from deepicd.rewards.composite import Reward, build_reward, find_faults

OWN = "as the file says"
"""Name of the experiment's own reward."""
_MAX_CORNERS = 64
"""Corners that are looked at; of more, these many at equal distances in their order."""


def build_rewards(experiment: Experiment) -> dict[str, Reward]:
    """Name → reward: the experiment's own first, then what its sweep would make of it.

    Raises:
        ConfigError: no reward can be built from the experiment's own settings.
    """
    built = {OWN: _build(experiment.rewards)}
    for values in _corners(experiment):
        corner = with_values(experiment, values).rewards
        # Weights that are all 0 somewhere in a search make no reward; `validate` speaks of them.
        if not any(fault.place.startswith("rewards.weights") for fault in find_faults(corner)):
            built[", ".join(f"{key} = {value}" for key, value in values.items())] = _build(corner)
    return built


def _build(config: RewardConfig) -> Reward:
    return build_reward(config.preset, config.weights, hierarchy_curve=config.hierarchy_curve)


def _corners(experiment: Experiment) -> list[dict[str, Scalar]]:
    """Values of the searched addresses of `[rewards]` at each corner of their domains."""
    search = experiment.sweep.search
    mine = [key for key in search if key.startswith("rewards.") and ".judge." not in key]
    if not mine:
        return []
    space = Space(with_parents(search, mine), all_values)
    stride = max(1, -(-space.size // _MAX_CORNERS))
    drawn = (space.trial(number) for number in range(0, space.size, stride))
    return [{key: value for key, value in trial.items() if key in mine} for trial in drawn]
