"""An experiment → how the ranking of answers changes with each weight that its sweep searches.

In: an experiment. Out: `rewards.sensitivity.WeightEffect`s. Nothing is trained.
"""

from deepicd.config import Experiment
from deepicd.pipeline.rewards.cases import build_cases
from deepicd.rewards.sensitivity import WeightEffect, find_effects


def find_weight_effects(experiment: Experiment, *, num_notes: int) -> list[WeightEffect]:
    """What each weight does to the ranking of honest and other answers.

    Raises:
        ConfigError: no reward can be built.
    """
    return find_effects(experiment, build_cases(experiment, num_notes=num_notes))
