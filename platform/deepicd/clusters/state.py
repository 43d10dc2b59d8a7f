"""What the cluster holds right now: actors, placement groups, free GPUs, nodes that are gone.

In: an initialised Ray. Out: answers from the cluster's own tables. Decided here: this is the one
file that knows names of `ray._private`. Ray's public state API asks the dashboard, which a cluster
may run without, and which is slow on a busy machine.
"""

import logging
import os
import signal
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from deepicd.upstream import require_version

_POLL_S = 0.1


_TOKEN_LOGGER = "ray._private.authentication.authentication_token_setup"


@contextmanager
def no_word_of_token() -> Iterator[None]:
    """Ray's warning that a cluster which it starts here has a token stays out during a block: it is
    meant to have one, and a newcomer would take it for a fault of his own.
    """
    logger = logging.getLogger(_TOKEN_LOGGER)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _tables() -> Any:
    """The tables of the cluster's GCS, as Ray's own commands read them."""
    import ray

    require_version("ray", "2.60.0", "the look at the cluster's tables")
    return ray._private.state


def pending_actors(job: str) -> list[str]:
    """Actors of a Ray job that have not started yet, and the GPUs that are free for them."""
    import ray

    owner = ray.JobID.from_hex(job)
    waiting = _tables().actors(job_id=owner, actor_state_name="PENDING_CREATION").values()
    names = [f"actor {actor['ActorClassName']} is pending" for actor in waiting]
    return [*names, f"GPUs {describe_free_gpus()}"] if names else []


def nodes_of(job: str) -> set[str]:
    """Nodes on which actors of a Ray job are alive."""
    import ray

    owner = ray.JobID.from_hex(job)
    alive = _tables().actors(job_id=owner, actor_state_name="ALIVE").values()
    return {actor["Address"]["NodeID"] for actor in alive}


def describe_lost(nodes: Collection[str]) -> list[str]:
    """What became of those of these nodes that are gone."""
    import ray

    gone = [node for node in ray.nodes() if node["NodeID"] in nodes and not node["Alive"]]
    return [f"node {node['NodeManagerAddress']} was {_describe_death(node)}" for node in gone]


def _describe_death(node: Mapping[str, Any]) -> str:
    """pre-empted or lost, as far as Ray knows."""
    # Ray's own reason is AUTOSCALER_DRAIN_PREEMPTED.
    is_expected = "PREEMPT" in str(node.get("DeathReason")) + str(node.get("DeathReasonMessage"))
    return "pre-empted" if is_expected else "lost"


def describe_free_gpus() -> str:
    """Free and all GPUs (logical slots on the CPU profile), by node."""
    import ray

    # `ray.available_resources` knows the sum only; a trial needs its GPUs on one node.
    free = _tables().available_resources_per_node()
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU")]
    if not nodes:
        return "no node has a GPU"
    shares = (
        f"{free.get(node['NodeID'], {}).get('GPU', 0):g} of {node['Resources']['GPU']:g}"
        for node in nodes
    )
    return f"free now {', '.join(shares)} by node"


def remove_groups(groups: Iterable[str]) -> None:
    """Remove placement groups by id (hex); removed ones are passed over."""
    import ray
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    for group in groups:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID.from_hex(group)))


def live_groups() -> list[str]:
    """Ids of the cluster's placement groups that hold or wait for resources."""
    from ray.util.placement_group import placement_group_table

    table = placement_group_table()
    # Ray keeps removed groups in its table.
    return [group for group, info in table.items() if info["state"] != "REMOVED"]


def wait_until_free(before: Iterable[str], *, timeout_s: float) -> list[str]:
    """Wait until only the groups in `before` are alive; returns those that were still alive at the
    end."""
    others, deadline = set(before), time.monotonic() + timeout_s
    while True:
        left = [group for group in live_groups() if group not in others]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(_POLL_S)


def end_cleaners(*, patience_s: float) -> int:
    """End what is left of Ray Train's detached `PlacementGroupCleaner` actors of this job, and of
    jobs that are over.

    Each Train run has one; it ends itself, but on a busy machine its exit races with the call that
    stops it, and without the dashboard it does not learn that its run was killed; an idle process
    then stays until the cluster ends (Ray 2.60). They live on the head node, where drivers do.
    Returns how many were ended here after waiting `patience_s`.
    """
    import ray

    deadline = time.monotonic() + patience_s
    while (left := _live_cleaners()) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    # Only processes of this node: an id of another node is somebody else's process here.
    here = ray.get_runtime_context().get_node_id()
    # An actor without a process has the id 0, and a kill of 0 would end our own group.
    ended = [actor["Pid"] for actor in left if actor["Pid"] and actor["Address"]["NodeID"] == here]
    for process in ended:
        with suppress(ProcessLookupError):
            # By process id: a detached actor without a name can be reached in no other way.
            os.kill(process, signal.SIGKILL)
    return len(ended)


def _live_cleaners() -> list[Any]:
    """Read from the cluster's own tables: the state API needs the dashboard."""
    import ray

    over = {job["JobID"] for job in _tables().jobs() if job["IsDead"]}
    jobs = {*over, ray.get_runtime_context().get_job_id()}
    alive = _tables().actors(actor_state_name="ALIVE").values()
    cleaners = [actor for actor in alive if actor["ActorClassName"] == "PlacementGroupCleaner"]
    return [actor for actor in cleaners if actor["JobID"] in jobs]


def free_resources() -> dict[str, float]:
    """CPUs and GPUs (logical slots) that nobody holds right now."""
    import ray

    available = ray.available_resources()
    return {name: available.get(name, 0.0) for name in ("CPU", "GPU")}


def all_cpus() -> int:
    """CPUs of all nodes, free or not."""
    import ray

    return int(ray.cluster_resources().get("CPU", 0))


def gpus_by_node() -> list[int]:
    """GPUs (logical slots on the CPU profile) of every node that has some."""
    import ray

    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [int(resources["GPU"]) for resources in alive if resources.get("GPU")]
