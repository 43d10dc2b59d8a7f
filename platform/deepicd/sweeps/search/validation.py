"""Refuses a sweep that cannot work before it starts.

In: an experiment. Out: nothing, or an error with the place and the way out. Decided here: all that
follows from settings and paths is checked without Ray; only capacity asks the cluster.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import islice

from deepicd import rewards
from deepicd.clusters.state import all_cpus, gpus_by_node
from deepicd.config import (
    Choice,
    DataConfig,
    Domain,
    Experiment,
    FloatRange,
    RewardConfig,
    Scalar,
    Space,
    all_values,
    draw_trial,
    with_parents,
    with_values,
)
from deepicd.errors import CapacityError, ConfigError, Fault, faults_of, refuse
from deepicd.notes.build_report import REPORT
from deepicd.rewards import resolve_weights
from deepicd.sweeps.search.space import grid_faults
from deepicd.training.grpo import effects
from deepicd.training.grpo.config import setting

_BATCHES = (
    "training.train_batch_size",
    "training.ppo_mini_batch_size",
    "training.ppo_micro_batch_size_per_gpu",
    "training.rollout_n",
)

_MAX_COMBINATIONS = 2000
"""Combinations of batch sizes that are tried, a millisecond each."""
_MAX_FAULTS = 20
"""Faults of combinations that are told."""
_REWARD_WEIGHTS = "rewards.weights."
# One more than the rule's two others (`schedulers`).
_MEDIAN_TRIALS = 3


def validate(experiment: Experiment) -> None:
    """Refuse what neither data nor a machine could make work, and what is not on this machine.

    Raises:
        ConfigError: an address that acts on no trial, values that cannot go together, rewards that
            cannot be built, a grace period at which nothing is validated, or no traces for notes
            of one's own.
        MissingError: a model, traces or tables that the experiment names are not there.
    """
    refuse(find_faults(experiment))


def find_faults(experiment: Experiment) -> Iterator[Fault]:
    """All of that, as faults; those of a path that is not there are missing on this machine."""
    search = experiment.sweep.search
    yield from _faults_of_paths(experiment)
    searched = [
        address.removeprefix(_REWARD_WEIGHTS)
        for address in search
        if address.startswith(_REWARD_WEIGHTS)
    ]
    unsound = list(rewards.find_faults(experiment.rewards, searched=searched))
    yield from unsound
    if not search:  # a single training: nothing is compared
        return
    if unsound:  # what follows asks what the weights come to
        experiment = _without_rewards(experiment)
    yield from effects.find_faults(experiment)
    yield from faults_of(partial(_check_weights, experiment), "sweep.search")
    yield from _faults_of_combinations(experiment)
    yield from grid_faults(experiment)
    yield from _early_stopping_faults(experiment)


def _without_rewards(experiment: Experiment) -> Experiment:
    """The experiment with the default rewards, and none of them searched."""
    search = {
        address: domain
        for address, domain in experiment.sweep.search.items()
        if not any(name.startswith("rewards.") for name in (address, *domain.when))
    }
    sweep = experiment.sweep.model_copy(update={"search": search})
    return experiment.model_copy(update={"rewards": RewardConfig(), "sweep": sweep})


def check_early_stopping(experiment: Experiment) -> None:
    """Raise ConfigError for a grace period at which nothing is validated, or that leaves nothing
    to stop.
    """
    refuse(_early_stopping_faults(experiment))


def _early_stopping_faults(experiment: Experiment) -> Iterator[Fault]:
    """All of that, as faults."""
    sweep, training = experiment.sweep, experiment.training
    grace, every = sweep.grace_steps, training.validate_every
    if sweep.scheduler == "none":
        return
    if grace % every:
        yield Fault(
            "sweep.grace_steps",
            f"sweep.grace_steps ({grace}) must be a multiple of training.validate_every "
            f"({every}): trials are compared at a validation",
            "change either",
            grace,
        )
    if sweep.scheduler == "median" and sweep.total_trials < _MEDIAN_TRIALS:
        yield Fault(
            "sweep.scheduler",
            f"sweep.scheduler = 'median' compares a trial with two others and the sweep has "
            f"{sweep.total_trials}, so it would stop nobody",
            'raise sweep.num_trials, or set sweep.scheduler = "none"',
            sweep.scheduler,
        )
    if grace >= training.total_steps:
        yield Fault(
            "sweep.grace_steps",
            f"sweep.grace_steps ({grace}) leaves {sweep.scheduler} nothing to stop in "
            f"training.total_steps = {training.total_steps} steps",
            'lower it, or set sweep.scheduler = "none"',
            grace,
        )


def _faults_of_paths(experiment: Experiment) -> Iterator[Fault]:
    """Paths that the experiment names and that are not there, or that it has to name."""
    data, sft, model = experiment.data, experiment.sft, experiment.model.path
    named = {
        "data.splits": data.splits and data.splits / REPORT,
        "data.root": None if data.splits else data.root,
        "data.file": None if data.splits else data.file,
        "model.path": model and model / "config.json",
        "sft.traces": sft.traces if sft.is_enabled else None,
    }
    for address, path in named.items():
        if path is not None and not path.exists():
            yield Fault(
                address,
                f"{address}: there is no {path}",
                f"correct the path in the experiment or with --set {address}=…",
                str(path),
                is_missing=True,
            )
    yield from _faults_of_source(data)
    has_traces = sft.traces is not None or bool(experiment.traces.model)
    if data.source != "embedded" and sft.is_enabled and not has_traces:
        yield Fault(
            "sft.traces",
            f"data.source is {data.source!r}, and neither sft.traces nor traces.url is set: "
            "without a teacher traces are written for the embedded corpus only",
            "name a file of traces (deepicd traces build) or a teacher, or set "
            "sft.is_enabled = false",
        )


def _faults_of_source(data: DataConfig) -> Iterator[Fault]:
    """What is wrong with the notes' tables or files by their names and headers; no row is read."""
    from deepicd.notes.mimic.reader import table_faults
    from deepicd.notes.table.fhir import check_export
    from deepicd.notes.table.rows import as_setting, check_file

    place = None if data.splits else data.place
    if place is None or not place.exists():
        return
    if data.source == "mimic":
        yield from table_faults(place)
    elif data.source == "table":
        columns = data.columns.named()
        yield from faults_of(
            partial(check_file, place, columns, as_setting), "data.columns", columns
        )
    elif data.source == "fhir":
        yield from faults_of(partial(check_export, place), "data.root", str(place))


def check_capacity(experiment: Experiment) -> None:
    """Raise CapacityError when the Ray cluster cannot hold the trials that are to run at once; Ray
    must be initialised.
    """
    training, at_once = experiment.training, max(1, experiment.sweep.max_concurrent)
    fitting = fitting_trials(experiment, gpus_by_node())
    if fitting >= at_once:
        check_cpus(experiment, all_cpus())
        return
    raise CapacityError(
        f"{at_once} trial(s) at once need {at_once * training.num_nodes} x {training.num_gpus} "
        "GPUs (sweep.max_concurrent x training.num_nodes, training.num_gpus on one node each), the "
        f"Ray cluster's nodes have {gpus_by_node() or 'none'}; lower one of them, or start Ray "
        "with more (on the CPU profile: ray.init(num_gpus=N) logical slots)"
    )


def cpus_of_trial(experiment: Experiment) -> int:
    """CPUs that verl's actors hold for as long as a trial runs; one that finds fewer waits for
    ever.

    Read in verl 0.9.1: three a GPU (actor, rollout server and what it computes in), one for the
    controller of its TransferQueue, one for each of its storage units.
    """
    units = setting(experiment, "transfer_queue.backend.SimpleStorage.num_data_storage_units", 8)
    return 3 * experiment.training.world_size + 1 + int(units)


def check_cpus(experiment: Experiment, cpus: int) -> None:
    """Raise CapacityError when a cluster with so many CPUs cannot start one trial; on the CPU
    profile a run counts its own slots.
    """
    needed = cpus_of_trial(experiment)
    if experiment.profile == "gpu" and cpus < needed:
        raise CapacityError(
            f"a trial of {experiment.training.world_size} GPUs needs {needed} CPUs for verl's "
            f"processes, the Ray cluster has {cpus}; add nodes, start Ray with more (--num-cpus), "
            "or lower training.num_gpus"
        )


def count_at_once(experiment: Experiment) -> int:
    """Trials that run at once: as many as the experiment says, or as the cluster holds."""
    sweep = experiment.sweep
    # At least one: `check_capacity` has refused a cluster that holds none.
    fitting = fitting_trials(experiment, gpus_by_node())
    return min(sweep.total_trials, sweep.max_concurrent or max(1, fitting))


def fitting_trials(experiment: Experiment, gpus: Iterable[int]) -> int:
    """Trials that nodes with these GPUs could hold at once, were nothing else there."""
    training = experiment.training
    places = sum(count // training.num_gpus for count in gpus)
    return places // training.num_nodes


def _faults_of_combinations(experiment: Experiment) -> Iterator[Fault]:
    """Searched values that cannot go together in one trial: the first ones."""
    space = _combinations(experiment)
    if space.size > _MAX_COMBINATIONS:
        first = next(address for address in _BATCHES if address in experiment.sweep.search)
        yield Fault(
            f"sweep.search.{first}",
            f"[sweep.search] gives batch sizes in {space.size} combinations, each of which has to "
            f"divide; at most {_MAX_COMBINATIONS} are tried before a sweep",
            'name the sizes that you mean: { type = "choice", values = [...] }',
            experiment.sweep.search[first].model_dump(mode="json"),
        )
        return
    faults = (fault for values in space for fault in _fault_of_values(experiment, values))
    yield from islice(faults, _MAX_FAULTS)


def _fault_of_values(experiment: Experiment, values: Mapping[str, Scalar]) -> Iterator[Fault]:
    pairs = ", ".join(f"{address} = {value}" for address, value in values.items())
    try:
        with_values(experiment, values, source=f"[sweep.search] {pairs}")
    except ConfigError as error:
        # A message ends with its way out, after a semicolon.
        rule, _, way_out = str(error).rpartition("; ")
        yield Fault(f"sweep.search.{next(iter(values))}", rule, way_out, dict(values))


def _combinations(experiment: Experiment) -> Space:
    """Every combination of batch sizes that a trial can have, with what they depend on."""
    search = experiment.sweep.search
    searched = with_parents(search, [address for address in _BATCHES if address in search])
    return Space(searched, all_values)


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
    # Chance never draws the low end of a range of floats: its high end stands for what lies above.
    return domain.low if is_grid or not isinstance(domain, FloatRange) else domain.high
