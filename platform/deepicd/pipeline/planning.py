"""What a run would do, cost and change in verl's configuration; nothing is started.

In: an experiment in which `validation` finds no fault. Out: a plan, or configurations of drawn
trials. Decided here: an experiment without a search is planned as the one training that it is; what
only this machine lacks is named in the plan and stops none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepicd.config import Experiment, Scalar, with_values
from deepicd.errors import refuse
from deepicd.paths import RunPaths

if TYPE_CHECKING:
    from deepicd.sweeps.planning.plan import Plan
    from deepicd.sweeps.planning.replay import Replay


def plan_experiment(
    experiment: Experiment, *, step_s: float, gpu: str, prices: Path | None
) -> "Plan":
    """The plan of an experiment's sweep, or of its single training.

    Args:
        experiment: what is to be run; `validation.check` need not have passed.
        step_s: measured seconds of one GRPO step; 0: unknown, the plan then has no hours.
        gpu: GPU or machine of the price table; empty: the plan has no cost.
        prices: price table (TOML); None takes the package's own.

    Raises:
        ConfigError: the experiment cannot run on any machine, the table has no such machine, or
            the hours exceed the experiment's cap.
        CapacityError: a trial cannot fit the GPU.
    """
    from deepicd.pipeline.validation import prepare_plan
    from deepicd.sweeps.planning.memory import check_memory
    from deepicd.sweeps.planning.plan import plan_sweep
    from deepicd.sweeps.planning.prices import find_machines, read_prices

    experiment, missing = prepare_plan(experiment)
    table = read_prices(prices)
    machines = find_machines(table, gpu) if gpu else ()
    for machine in machines[-1:]:  # the machines of one name differ in number, not in GPU
        check_memory(experiment, machine.gpu_memory_gib, gpu=machine.gpu)
    planned = plan_sweep(experiment, step_s=step_s, machines=machines, prices=table)
    rows = tuple({"place": fault.place, "rule": fault.rule} for fault in missing)
    return replace(planned, missing=rows)


def compose_first_trial(experiment: Experiment, plan: "Plan") -> str:
    """verl's configuration of the plan's first drawn trial, as YAML.

    Raises:
        ConfigError: a searched value does not reach verl.
    """
    from omegaconf import OmegaConf

    from deepicd.training.grpo.differences import compose_planned, find_faults

    refuse(find_faults(experiment))
    return str(OmegaConf.to_yaml(compose_planned(_drawn(experiment, plan)[0])))


def compare_trials(experiment: Experiment, plan: "Plan") -> Mapping[str, Sequence[Any]]:
    """verl's keys that differ between the plan's drawn trials, each with its values.

    Raises:
        ConfigError: a searched value does not reach verl.
    """
    from deepicd.training.grpo.differences import differences, find_faults

    refuse(find_faults(experiment))
    return differences(_drawn(experiment, plan))


def _drawn(experiment: Experiment, plan: "Plan") -> list[Experiment]:
    return [with_values(experiment, row, source="drawn trial") for row in plan.samples]


def replay_run(root: Path, *, scheduler: str, grace_steps: int, factor: int) -> "Replay":
    """What early stopping would have cost and saved on the recorded curves of a run.

    Args:
        root: the run's folder.
        scheduler: asha, median or none.
        grace_steps: steps before the first stop; 0: the run's own.
        factor: ASHA's reduction factor; 0: the run's own.

    Raises:
        MissingError: no run lies there.
        ConfigError: a value that no scheduler takes.
    """
    from deepicd.pipeline.folder.command import experiment_of_run
    from deepicd.sweeps.planning.replay import read_curves, replay

    paths = RunPaths(root.resolve())
    experiment = experiment_of_run(paths)
    settings: dict[str, Scalar] = {"scheduler": scheduler}
    if grace_steps:
        settings["grace_steps"] = grace_steps
    if factor:
        settings["reduction_factor"] = factor
    return replay(read_curves(paths, experiment), experiment, settings)
