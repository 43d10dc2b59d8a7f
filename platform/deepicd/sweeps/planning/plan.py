"""What a sweep would do and cost, before it starts: trials, sizes, resources, memory, hours, money.

In: an experiment, and the machines that it could run on. Out: a `Plan` of plain values. Everything
follows from the experiment, the sizes of its model (`planning.memory`) and a dated table of prices
(`planning.prices`); hours need a measured `step_s`. All of it is "at most": a trial that is stopped
early takes less. Notes, SFT and evaluation come on top: they count into the cap of the whole run,
and are not in these hours.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from deepicd.config import Choice, Domain, Experiment, FloatRange, Scalar, draw_trial
from deepicd.errors import ConfigError
from deepicd.sweeps.planning.at_once import AtOnce, machines_with_place, trials_at_once
from deepicd.sweeps.planning.memory import estimate_disk, estimate_memory
from deepicd.sweeps.planning.prices import Machine, PriceTable
from deepicd.sweeps.planning.steps import count_steps
from deepicd.sweeps.search.validation import cpus_of_trial

Row = Mapping[str, Scalar]

_KINDS = {"cpu": "slot", "gpu": "gpu"}
"""Profile → what trials take: the CPU profile has logical slots in the place of GPUs."""


@dataclass(frozen=True)
class Plan:
    """One sweep on paper."""

    trials: Row
    """Number, how many at once, steps of each at most (`planning.steps`), and when the first may be
    stopped; `at_once_by` says what holds them where the experiment does not
    (`planning.at_once`)."""
    step: Mapping[str, int]
    """Prompts, answers, optimiser updates, and tokens at most."""
    resources: Mapping[str, int]
    """GPUs of a trial by node and in all, of all trials that run at once, and a trial's CPUs; on
    the CPU profile `slots`: what stands in for GPUs there."""
    memory_gb: Mapping[str, float]
    """Estimates per GPU from below, see `planning.memory`."""
    disk_gb: Mapping[str, float]
    """What checkpoints take, see `planning.memory.estimate_disk`."""
    hours: Mapping[str, float]
    """GPU-hours (`slot` on the CPU profile) and hours by the clock at most; empty without a
    measured `step_s`."""
    cap: Mapping[str, float]
    """GPU-hours and USD that end the run, and GPU-hours that end a trial; empty without a cap."""
    cost: tuple[Row, ...]
    """Price of a GPU-hour and of the whole sweep at most, for each machine asked for that holds a
    trial."""
    prices: Mapping[str, str]
    """Date and source of the prices."""
    samples: tuple[Row, ...]
    """Parameters of trials as they could be drawn: only these differ between trials."""
    assumed: tuple[Row, ...] = ()
    """What had to be assumed, a sentence by its place in the experiment."""
    unpriced: tuple[Row, ...] = ()
    """Machines asked for that cannot hold a trial, a sentence by name."""
    missing: tuple[Row, ...] = ()
    """What a run needs and this machine lacks, by its place in the experiment."""


def plan_sweep(
    experiment: Experiment,
    *,
    step_s: float = 0.0,
    machines: Sequence[Machine] = (),
    prices: PriceTable | None = None,
    num_samples: int = 3,
) -> Plan:
    """Plan a sweep.

    Args:
        experiment: settings that `sweeps.search.validation.validate` accepts.
        step_s: measured seconds of one GRPO step, start and validations spread over it; 0: unknown.
        machines: those that it could run on, for its cost and the engine's memory.
        prices: the table that they are from.
        num_samples: trials to draw, by the experiment's seed.

    Raises:
        ConfigError: the hours exceed the experiment's cap, and nobody is stopped early.
        CapacityError: as `machines_with_place` and `trials_at_once`.
    """
    machines, small = machines_with_place(experiment, machines)
    steps, at_once = count_steps(experiment), trials_at_once(experiment, machines)
    hours = (
        hours_at_most(experiment, step_s, steps=steps.at_most, at_once=at_once.number)
        if step_s
        else {}
    )
    gpu_hours = hours.get(_KINDS[experiment.profile], 0.0)
    _check_budget(experiment, gpu_hours)
    return Plan(
        trials=_trial_counts(experiment, steps.at_most, at_once=at_once),
        step=_step_sizes(experiment),
        resources=_resources(experiment, at_once.number),
        memory_gb=estimate_memory(
            experiment, max((machine.gpu_memory_gib for machine in machines), default=0.0)
        ),
        disk_gb=estimate_disk(experiment, at_once.number),
        hours={name: round(value, 2) for name, value in hours.items()},
        cap=_cap_of(experiment),
        cost=tuple(_cost_of(machine, gpu_hours) for machine in machines),
        prices={"as_of": prices.as_of, "source": prices.source} if prices and machines else {},
        samples=_draw_samples(experiment, num_samples),
        assumed=({"place": "trials.steps", "rule": steps.assumed},) if steps.assumed else (),
        unpriced=tuple(_unpriced(machine, experiment.training.num_gpus) for machine in small),
    )


def _trial_counts(experiment: Experiment, steps: int, *, at_once: AtOnce) -> dict[str, Scalar]:
    sweep = experiment.sweep
    held = {"at_once_by": at_once.source} if at_once.source else {}
    return {
        "number": sweep.total_trials,
        "at_once": at_once.number,
        **held,
        "steps": steps,
        "first_stop_at_step": steps if sweep.scheduler == "none" else sweep.grace_steps,
    }


def _step_sizes(experiment: Experiment) -> dict[str, int]:
    training = experiment.training
    answers = training.train_batch_size * training.rollout_n
    length = experiment.data.max_prompt_tokens + training.max_response_tokens
    return {
        "prompts": training.train_batch_size,
        "answers": answers,
        "updates": training.train_batch_size // training.ppo_mini_batch_size,
        "max_tokens": answers * length,
    }


def _resources(experiment: Experiment, at_once: int) -> dict[str, int]:
    training = experiment.training
    kind = f"{_KINDS[experiment.profile]}s"
    return {
        f"{kind}_per_node": training.num_gpus,
        "nodes": training.num_nodes,
        kind: training.world_size,
        f"{kind}_at_once": training.world_size * at_once,
        **({"cpus": cpus_of_trial(experiment)} if experiment.profile == "gpu" else {}),
    }


def hours_at_most(
    experiment: Experiment, step_s: float, *, steps: int, at_once: int
) -> dict[str, float]:
    """Hours by the clock (`clock`), with so many trials at once, and of GPUs (`gpu`; of slots on
    the CPU profile: `slot`), if no trial is stopped early or fails.
    """
    training, sweep = experiment.training, experiment.sweep
    longest = sweep.max_trial_gpu_hours or math.inf
    trial = min(steps * step_s / 3600, longest / training.world_size)
    return {
        "clock": math.ceil(sweep.total_trials / at_once) * trial,
        _KINDS[experiment.profile]: sweep.total_trials * trial * training.world_size,
    }


def _check_budget(experiment: Experiment, gpu_hours: float) -> None:
    """Raise ConfigError when trials that nobody stops would take more than the cap."""
    sweep = experiment.sweep
    if sweep.scheduler != "none" or gpu_hours <= sweep.gpu_hours_cap:
        return
    fitting = int(sweep.total_trials * sweep.gpu_hours_cap / gpu_hours)
    raise ConfigError(
        f"{sweep.total_trials} trials that are not stopped early take {gpu_hours:.1f} GPU-hours, "
        f"the cap is {sweep.gpu_hours_cap:.1f} (sweep.max_gpu_hours, sweep.max_cost): it holds "
        f"{fitting}. Lower sweep.num_trials or training.total_steps, stop early "
        '(sweep.scheduler = "asha"), or raise the cap'
    )


def _cap_of(experiment: Experiment) -> dict[str, float]:
    """What the run, and one trial, may take, where the experiment caps it."""
    sweep = experiment.sweep
    kind = _KINDS[experiment.profile]
    cap = {
        f"{kind}_hours": 0.0 if math.isinf(sweep.gpu_hours_cap) else round(sweep.gpu_hours_cap, 2),
        "usd": sweep.max_cost,
        f"{kind}_hours_of_a_trial": sweep.max_trial_gpu_hours,
    }
    return {name: value for name, value in cap.items() if value}


def _cost_of(machine: Machine, gpu_hours: float) -> Row:
    """What GPU-hours cost on a machine all of whose GPUs are used."""
    row: dict[str, Scalar] = {
        "provider": machine.provider,
        "machine": machine.name,
        "gpu": machine.gpu,
        "usd_per_gpu_hour": round(machine.usd_per_gpu_hour, 3),
    }
    return {**row, "usd": round(gpu_hours * machine.usd_per_gpu_hour, 2)} if gpu_hours else row


def _unpriced(machine: Machine, num_gpus: int) -> Row:
    what = f"{machine.name} ({machine.provider}) has {machine.num_gpus} {machine.gpu}"
    rule = f"{what} and no place for a trial, which takes {num_gpus} on one node"
    return {"place": machine.name, "rule": rule}


def _draw_samples(experiment: Experiment, number: int) -> tuple[dict[str, Scalar], ...]:
    """Parameters of some trials, by the experiment's seed."""
    rng = Random(experiment.seed)
    return tuple(
        draw_trial(experiment.sweep.search, lambda _, domain: draw(domain, rng))
        for _ in range(min(number, experiment.sweep.total_trials))
    )


def draw(domain: Domain, rng: Random) -> Scalar:
    """One value of a domain."""
    if isinstance(domain, Choice):
        return rng.choice(domain.values)
    if isinstance(domain, FloatRange):
        if domain.type == "uniform":
            return rng.uniform(domain.low, domain.high)
        return math.exp(rng.uniform(math.log(domain.low), math.log(domain.high)))
    return rng.randint(domain.low, domain.high)
