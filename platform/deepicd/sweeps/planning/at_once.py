"""How many trials of a sweep run at once, before any Ray is started, and which machines hold one.

In: an experiment, and the machines that a plan is for. Out: a number, and what it follows from; the
machines that have a place for a trial.
Decided here: `sweep.max_concurrent` says it. Where that is 0 a run takes what its cluster holds, so
a plan asks, in this order: the cluster of `RAY_ADDRESS`; the machine that the plan was asked for
(as many of it as one trial has nodes); the GPUs of this machine. On the CPU profile the cluster
that a run starts has slots for one trial, on whatever machine. Where nobody knows, one trial is
counted, and it is said.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from deepicd.clusters.local_gpus import count_gpus
from deepicd.clusters.ray_session import ray_session
from deepicd.clusters.state import gpus_by_node
from deepicd.config import Experiment
from deepicd.errors import CapacityError
from deepicd.sweeps.planning.prices import Machine
from deepicd.sweeps.search.validation import fitting_trials

_ADDRESS = "RAY_ADDRESS"


@dataclass(frozen=True)
class AtOnce:
    """Trials that run at once."""

    number: int
    source: str = ""
    """What says so; empty where the experiment does."""


def machines_with_place(
    experiment: Experiment, machines: Sequence[Machine]
) -> tuple[list[Machine], list[Machine]]:
    """Machines that hold a trial, or over several nodes its share of one, and those that do not.

    Args:
        experiment: whose trial takes `training.num_gpus` on each of its nodes.
        machines: of one name or GPU, so they may differ in their number of GPUs.

    Raises:
        CapacityError: there are machines, and none of them holds it.
    """
    wanted = experiment.training.num_gpus if experiment.profile == "gpu" else 0
    fitting = [machine for machine in machines if machine.num_gpus >= wanted]
    small = [machine for machine in machines if machine.num_gpus < wanted]
    if small and not fitting:
        names = ", ".join(f"{machine.name} ({machine.num_gpus})" for machine in small)
        raise CapacityError(
            f"{names} has no place for a trial, which takes {wanted} GPUs on each of its "
            f"{experiment.training.num_nodes} node(s) (training.num_gpus); name a machine with "
            f"{wanted} GPUs or more, or lower training.num_gpus and raise training.num_nodes"
        )
    return fitting, small


def trials_at_once(experiment: Experiment, machines: Sequence[Machine] = ()) -> AtOnce:
    """Trials at once on a cluster where nothing else runs, at most those of the sweep.

    Args:
        experiment: the sweep's.
        machines: those that the plan is for, the one that counts first; none were named.

    Raises:
        CapacityError: `RAY_ADDRESS` names a cluster that does not answer.
    """
    sweep = experiment.sweep
    if sweep.max_concurrent:
        return AtOnce(min(sweep.total_trials, sweep.max_concurrent))
    gpus, source = _known_gpus(experiment, machines)
    fitting = fitting_trials(experiment, gpus)
    if not fitting:
        source = f"one trial: {source} have no place for it"
    return AtOnce(min(sweep.total_trials, max(1, fitting)), source)


def _known_gpus(experiment: Experiment, machines: Sequence[Machine]) -> tuple[list[int], str]:
    """GPUs, or slots, of each node, and whose they are."""
    training = experiment.training
    if os.environ.get(_ADDRESS):
        return _gpus_of_cluster(), f"the nodes of {_ADDRESS}"
    if experiment.profile == "cpu":
        return [training.num_gpus] * training.num_nodes, "the slots of a run's own cluster"
    if machines:
        name = f"{training.num_nodes} x {machines[0].name}"
        return [machines[0].num_gpus] * training.num_nodes, f"{name} (--gpu)"
    return [count_gpus()], "the GPUs of this machine (--gpu NAME plans for another)"


def _gpus_of_cluster() -> list[int]:
    try:
        with ray_session():
            return list(gpus_by_node())
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise CapacityError(
            f"the cluster of {_ADDRESS} = {os.environ[_ADDRESS]} does not answer "
            f"({type(error).__name__}), and sweep.max_concurrent = 0 asks how many trials it "
            "holds; start it, unset the variable, or set sweep.max_concurrent"
        ) from error
