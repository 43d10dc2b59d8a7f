"""Refuses a sweep that cannot work before it starts.

In: an experiment. Out: nothing, or an error with the place and the way out. Decided here: all that
follows from settings and paths is checked without Ray; only capacity asks the cluster.
"""

from functools import partial
from pathlib import Path

from deepicd import rewards
from deepicd.clusters.state import gpus_by_node
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
from deepicd.errors import CapacityError, ConfigError, MissingError
from deepicd.rewards import resolve_weights
from deepicd.sweeps.search.space import check_grid
from deepicd.training.grpo import effects

_BATCHES = (
    "training.train_batch_size",
    "training.ppo_mini_batch_size",
    "training.ppo_micro_batch_size_per_gpu",
    "training.rollout_n",
)

_REWARD_WEIGHTS = "rewards.weights."
# One more than the rule's two others (`schedulers`).
_MEDIAN_TRIALS = 3


def validate(experiment: Experiment) -> None:
    """Refuse what neither data nor a machine could make work.

    Raises:
        ConfigError: nothing to search, an address that acts on no trial, values that cannot go
            together, rewards that cannot be built, a grace period at which nothing is validated, or
            no traces for notes of one's own.
        MissingError: a model, traces or tables that the experiment names are not there.
    """
    _check_paths(experiment)
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
    rewards.validate(experiment.rewards, searched=searched)
    effects.validate(experiment)
    _check_combinations(experiment)
    check_grid(experiment)
    check_early_stopping(experiment)


def check_early_stopping(experiment: Experiment) -> None:
    """Raise ConfigError for a grace period at which nothing is validated, or that leaves nothing
    to stop.
    """
    sweep = experiment.sweep
    grace, every = sweep.grace_steps, experiment.training.validate_every
    if sweep.scheduler != "none" and grace % every:
        raise ConfigError(
            f"sweep.grace_steps ({grace}) must be a multiple of training.validate_every "
            f"({every}): trials are compared at a validation; change either"
        )
    if sweep.scheduler == "median" and sweep.total_trials < _MEDIAN_TRIALS:
        raise ConfigError(
            f"sweep.scheduler = 'median' compares a trial with two others and the sweep has "
            f"{sweep.total_trials}, so it would stop nobody; raise sweep.num_trials, or set "
            'sweep.scheduler = "none"'
        )
    if sweep.scheduler != "none" and grace >= experiment.training.total_steps:
        raise ConfigError(
            f"sweep.grace_steps ({grace}) leaves {sweep.scheduler} nothing to stop in "
            f"training.total_steps = {experiment.training.total_steps} steps; lower it, or set "
            'sweep.scheduler = "none"'
        )


def _check_paths(experiment: Experiment) -> None:
    """Raise MissingError for a path that the experiment names and that is not there, ConfigError
    where it has to name one.
    """
    data, sft = experiment.data, experiment.sft
    model = experiment.model.path
    named: dict[str, Path | None] = {"sft.traces": sft.traces, "data.root": data.root}
    if model is not None:
        named["model.path"] = model / "config.json"
    for address, path in named.items():
        if path is not None and not path.exists():
            raise MissingError(
                f"{address}: there is no {path}; correct the path in the experiment or with "
                f"--set {address}=…"
            )
    if data.source == "mimic" and sft.is_enabled and sft.traces is None:
        raise ConfigError(
            "data.source is 'mimic' and sft.traces is not set: traces are written for the embedded "
            "corpus only; name a Parquet file of traces (docs/notes.md), or set sft.is_enabled = "
            "false"
        )


def check_capacity(experiment: Experiment) -> None:
    """Raise CapacityError when the Ray cluster cannot hold the trials that are to run at once; Ray
    must be initialised.
    """
    training, at_once = experiment.training, max(1, experiment.sweep.max_concurrent)
    fitting = _count_fitting(experiment)
    if fitting >= at_once:
        return
    raise CapacityError(
        f"{at_once} trial(s) at once need {at_once * training.num_nodes} x {training.num_gpus} "
        "GPUs (sweep.max_concurrent x training.num_nodes, training.num_gpus on one node each), the "
        f"Ray cluster's nodes have {gpus_by_node() or 'none'}; lower one of them, or start Ray "
        "with more (on the CPU profile: ray.init(num_gpus=N) logical slots)"
    )


def count_at_once(experiment: Experiment) -> int:
    """Trials that run at once: as many as the experiment says, or as the cluster holds."""
    sweep = experiment.sweep
    return min(sweep.total_trials, sweep.max_concurrent or max(1, _count_fitting(experiment)))


def _count_fitting(experiment: Experiment) -> int:
    """Trials that the whole cluster could hold at once, were nothing else there."""
    training = experiment.training
    places = sum(gpus // training.num_gpus for gpus in gpus_by_node())
    return places // training.num_nodes


def _check_combinations(experiment: Experiment) -> None:
    """Raise ConfigError for searched values that cannot go together in one trial."""
    for values in _combinations(experiment):
        pairs = ", ".join(f"{address} = {value}" for address, value in values.items())
        with_values(experiment, values, source=f"[sweep.search] {pairs}")
    _check_weights(experiment)


def _combinations(experiment: Experiment) -> list[dict[str, Scalar]]:
    """Every combination of batch sizes that a trial can have, with what they depend on."""
    search = experiment.sweep.search
    searched = with_parents(search, [address for address in _BATCHES if address in search])
    return distinct_trials(searched, all_values)


def _check_weights(experiment: Experiment) -> None:
    """All weights 0 at once: a point of a grid, or of choices; chance never hits an end."""
    least = partial(_least, is_grid=experiment.sweep.sampler == "grid")
    trial = draw_trial(experiment.sweep.search, lambda _, domain: least(domain))
    lowest = {
        address.removeprefix(_REWARD_WEIGHTS): float(value)
        for address, value in trial.items()
        if address.startswith(_REWARD_WEIGHTS)
    }
    preset = trial.get("rewards.preset", experiment.rewards.preset)
    try:
        resolve_weights(str(preset), {**experiment.rewards.weights, **lowest})
    except ConfigError as error:
        raise ConfigError(
            f"[sweep.search] at the least of every weight: {error} In every trial: give a "
            "component a weight that is not searched, or raise the least value of one that is"
        ) from None


def _least(domain: Domain, *, is_grid: bool) -> Scalar:
    if isinstance(domain, Choice):
        numbers = [value for value in domain.values if not isinstance(value, str)]
        return min(numbers, default=domain.values[0])
    return domain.low if is_grid or not isinstance(domain, FloatRange) else domain.high
