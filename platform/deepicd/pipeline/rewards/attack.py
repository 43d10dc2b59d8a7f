"""An experiment → what earns more with its reward than an honest answer.

In: an experiment. Out: `rewards.attack.Attack`. Decided here: the rewards are the experiment's own
and those at the ends of what its sweep searches; nothing is trained, no note of a file is read.
"""

from deepicd.config import Experiment
from deepicd.pipeline.rewards.cases import build_cases
from deepicd.rewards.attack import Attack, attack_rewards
from deepicd.rewards.searched import build_rewards


def attack_experiment(experiment: Experiment, *, num_notes: int) -> Attack:
    """Answers that earn more than honest ones, with any reward that the experiment may train with.

    Raises:
        ConfigError: no reward can be built.
    """
    rewards = build_rewards(experiment)
    cases = build_cases(experiment, num_notes=num_notes)
    return attack_rewards(rewards, cases, seed=experiment.seed)
