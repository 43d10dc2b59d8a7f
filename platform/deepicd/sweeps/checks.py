"""What is wrong with a sweep before it starts: settings that cannot work, said without Ray."""

from deepicd.config import Experiment
from deepicd.errors import ConfigError
from deepicd.rewards import check_rewards

_REWARD_WEIGHTS = "rewards.weights."


def check_settings(experiment: Experiment) -> None:
    """Refuse what neither data nor a machine could make work.

    Raises:
        ConfigError: nothing to search, rewards that cannot be built, more than one trial at once,
            or a grace period at which nothing is validated.
    """
    sweep = experiment.sweep
    if not sweep.search:
        raise ConfigError(
            f"experiment {experiment.name} has an empty [sweep.search]; add at least one address, "
            'for example "training.learning_rate" = {type = "loguniform", low = 1e-5, high = 1e-3}'
        )
    searched = [
        address.removeprefix(_REWARD_WEIGHTS)
        for address in sweep.search
        if address.startswith(_REWARD_WEIGHTS)
    ]
    check_rewards(experiment.rewards, searched=searched)
    if sweep.max_concurrent > 1:
        raise ConfigError(
            f"sweep.max_concurrent is {sweep.max_concurrent}, but verl's TransferQueue is one per "
            "Ray cluster and two trials would share it silently; set it to 1, or run a second "
            "sweep on its own cluster"
        )
    grace, every = sweep.grace_steps, experiment.training.validate_every
    if sweep.scheduler == "asha" and grace % every:
        raise ConfigError(
            f"sweep.grace_steps ({grace}) must be a multiple of training.validate_every "
            f"({every}): ASHA compares trials at a validation; change either"
        )
