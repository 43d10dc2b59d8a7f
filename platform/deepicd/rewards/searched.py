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
from deepicd.errors import ConfigError
from deepicd.rewards.composite import JUDGE, PRESETS, Reward, build_reward

OWN = "as the file says"
"""Name of the experiment's own reward."""
_MAX_CORNERS = 64
"""Corners that are looked at; of more, these many at equal distances in their order."""


def build_rewards(experiment: Experiment) -> dict[str, Reward]:
    """Name → reward: the experiment's own first, then what its sweep would make of it.

    Raises:
        ConfigError: no reward can be built, or only the judge has a weight.
    """
    built = {OWN: _build(experiment.rewards)}
    for values in _corners(experiment):
        corner = with_values(experiment, values).rewards
        # A corner at which all weights are 0 is one value among many, and no trial is likely there.
        if _is_paid(corner):
            built[", ".join(f"{key} = {value}" for key, value in values.items())] = _build(corner)
    return built


def _is_paid(config: RewardConfig) -> bool:
    """Whether a component other than the judge has a weight."""
    weights = {**PRESETS.get(config.preset, {}), **config.weights}
    return any(weight for name, weight in weights.items() if name != JUDGE)


def _build(config: RewardConfig) -> Reward:
    if config.weights.get(JUDGE) and not _is_paid(config):
        raise ConfigError(
            "only the judge has a weight, and it is not asked here; give another component one, "
            "for example with --set rewards.weights.outcome=1"
        )
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
