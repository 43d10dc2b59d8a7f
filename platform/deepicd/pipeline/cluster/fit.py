"""Does an experiment fit a cluster: GPUs, CPUs, memory, disk, and what an hour costs.

In: a description, an experiment and the price table. Out: a row for each question, with what the
cluster has, what is wanted and the way out. Nothing is started and no model is read: what cannot be
known without the model's folder is said to be unknown, and refuses nothing.

What verl asks for (0.9.1, `RayResourcePool`): a bundle of 3 CPUs and 1 GPU for each rank, on the
node of its GPUs. What a run asks for around it is `clusters.ray_session.logical_slots`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from deepicd.clusters.description import ClusterDescription, Machine
from deepicd.clusters.ray_session import logical_slots
from deepicd.config import Experiment
from deepicd.errors import CapacityError
from deepicd.pipeline.cluster.figures import gpu_figures
from deepicd.sweeps.planning.memory import bytes_of_checkpoint, check_memory, estimate_memory
from deepicd.sweeps.planning.prices import PriceTable
from deepicd.sweeps.search.validation import fitting_trials

_CPUS_OF_BUNDLE = 3
_GIB = 2**30
_UNKNOWN = "not known: model.path is not on this machine"


@dataclass(frozen=True)
class FitRow:
    """One question about a cluster and an experiment."""

    name: str
    value: str
    """What the cluster has."""
    wanted: str
    """What the experiment asks for; empty where nobody knows."""
    is_ok: bool
    advice: str = ""
    """The way out, where it does not fit."""


def fit(cluster: ClusterDescription, experiment: Experiment, prices: PriceTable) -> list[FitRow]:
    """Every question, in one order."""
    return [
        _profile(cluster, experiment),
        _gpus(cluster, experiment),
        _cpus_of_bundles(cluster, experiment),
        _cpus(cluster, experiment),
        *_gpu_memory(cluster, experiment, prices),
        _disk(cluster, experiment),
        _cost(cluster, experiment, prices),
    ]


def _profile(cluster: ClusterDescription, experiment: Experiment) -> FitRow:
    is_ok = cluster.profile == experiment.profile
    return FitRow("profile", cluster.profile, experiment.profile, is_ok, "take the other cluster")


def _nodes(cluster: ClusterDescription) -> Iterator[Machine]:
    """Every machine that trials may run on."""
    for address, machine, count in cluster.machines():
        if address != "head" or machine.gpus or not cluster.workers:
            yield from [machine] * count


def _gpus(cluster: ClusterDescription, experiment: Experiment) -> FitRow:
    training, found = experiment.training, [node.gpus for node in _nodes(cluster)]
    at_once = max(1, experiment.sweep.max_concurrent)
    wanted = f"{at_once} trial(s) at once on {training.num_nodes} x {training.num_gpus} GPUs"
    return FitRow(
        "gpus",
        f"{found}: {fitting_trials(experiment, found)} trial(s)",
        wanted,
        fitting_trials(experiment, found) >= at_once,
        "raise workers' max or gpus, or lower sweep.max_concurrent, training.num_gpus or num_nodes",
    )


def _cpus_of_bundles(cluster: ClusterDescription, experiment: Experiment) -> FitRow:
    nodes = [node for node in _nodes(cluster) if node.gpus]
    short = [node for node in nodes if node.cpus < _CPUS_OF_BUNDLE * node.gpus]
    return FitRow(
        "cpus_of_a_gpu",
        ", ".join(sorted({f"{node.cpus} CPUs for {node.gpus} GPUs" for node in nodes})) or "none",
        f"{_CPUS_OF_BUNDLE} CPUs for each GPU of a node (verl's bundle)",
        not short,
        "raise cpus of that group",
    )


def _cpus(cluster: ClusterDescription, experiment: Experiment) -> FitRow:
    found, (wanted, _) = sum(node.cpus for node in _nodes(cluster)), logical_slots(experiment)
    advice = "raise cpus or workers' max, or lower sweep.max_concurrent"
    return FitRow("cpus", str(found), f"{wanted} for all trials at once", found >= wanted, advice)


def _gpu_memory(
    cluster: ClusterDescription, experiment: Experiment, prices: PriceTable
) -> Iterator[FitRow]:
    if experiment.profile != "gpu":
        return
    for node in {node.gpu: node for node in _nodes(cluster) if node.gpus}.values():
        figures = gpu_figures(node, prices)
        memory = figures.memory_gib if figures else 0.0
        wanted = estimate_memory(experiment, memory)
        words = f"{max(wanted['update'], wanted.get('rollout', 0)):.1f} GB" if wanted else _UNKNOWN
        advice = ""
        try:
            check_memory(experiment, memory, gpu=node.gpu)
        except CapacityError as error:
            advice = str(error)
        yield FitRow("gpu_memory", f"{node.gpu} {memory:g} GiB", words, not advice, advice)


def _disk(cluster: ClusterDescription, experiment: Experiment) -> FitRow:
    at_once = max(1, experiment.sweep.max_concurrent)
    wanted = bytes_of_checkpoint(experiment) * at_once / _GIB
    is_known = bool(estimate_memory(experiment))
    return FitRow(
        "checkpoint_disk",
        f"{cluster.storage.size_gib} GiB at {cluster.storage.path}",
        f"{wanted:.1f} GiB for a checkpoint of each trial at once" if is_known else _UNKNOWN,
        not is_known or cluster.storage.size_gib >= wanted,
        "raise storage.size_gib, or lower sweep.max_concurrent",
    )


def _cost(cluster: ClusterDescription, experiment: Experiment, prices: PriceTable) -> FitRow:
    nodes = [node for node in _nodes(cluster) if node.gpus]
    figures = [(node.gpus, gpu_figures(node, prices)) for node in nodes]
    hourly = sum(gpus * figure.usd_per_hour for gpus, figure in figures if figure)
    cap = experiment.sweep.max_cost
    wanted = f"at most {cap:g} USD for the run (sweep.max_cost)" if cap else "no cap is set"
    value = f"{hourly:.2f} USD an hour for all GPUs (table of {prices.as_of})"
    return FitRow("cost", value, wanted, is_ok=True)
