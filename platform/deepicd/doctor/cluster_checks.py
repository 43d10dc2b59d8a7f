"""Facts of all nodes → checks of what has to be the same, or to work, between them.

In: `ClusterFacts`. Out: checks. Decided here: versions are compared node by node with those of the
most nodes, so that the odd one is named; a bundle that waits is a fault where no node could ever
hold it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping

from deepicd.doctor.facts import ALL_NODES, AllReduce, Check, ClusterFacts, NodeFacts
from deepicd.doctor.node_checks import gigabytes

_COMMAND = "this command"


def check_cluster(facts: ClusterFacts, num_nodes: int | None = None) -> Iterator[Check]:
    """Every check of this file.

    Args:
        facts: of all nodes.
        num_nodes: how many there must be; None takes those that are there.
    """
    yield _check_count(facts, num_nodes)
    yield from (_silent(node, fault) for node, fault in facts.silent.items())
    yield from _check_versions(facts)
    yield _check_waiting(facts)
    for node in facts.nodes:
        if node.unseen is not None:
            yield _check_storage(node, len(facts.nodes))
    if facts.all_reduce is not None:
        yield _check_all_reduce(facts.all_reduce)


def _check_count(facts: ClusterFacts, num_nodes: int | None) -> Check:
    """A worker that never joined lets a trial wait for ever (verl 491, 242, 278)."""
    there = len(facts.nodes) + len(facts.silent)
    gpus = sum(node.ray.num_gpus if node.ray else len(node.gpus) for node in facts.nodes)
    gone = f"; gone: {', '.join(facts.dead)}" if facts.dead else ""
    return Check(
        "nodes",
        ALL_NODES,
        f"{_nodes(there)} with {gpus:g} GPUs (on the CPU profile logical slots){gone}",
        f"{_nodes(num_nodes)}" if num_nodes else "no node is gone",
        # A node that was replaced is gone, and the number is right all the same.
        ok=there >= num_nodes if num_nodes else not facts.dead,
        advice="`ray status` shows who joined; on a missing node `ray start --address=HEAD:6379` "
        "says why not (--nodes N tells how many you want)",
    )


def _nodes(number: int) -> str:
    return f"{number} node" + "s" * (number != 1)


def _silent(node: str, fault: str) -> Check:
    return Check(
        "answer",
        node,
        fault,
        "the node runs this package and answers",
        ok=False,
        advice="install the same locked set there, with the same Python, and start its Ray from it",
        is_vital=True,
    )


def _check_versions(facts: ClusterFacts) -> Iterator[Check]:
    """Ray pickles code and data between nodes (ray 44063, 49912)."""
    rows = {node.node: node.versions for node in facts.nodes}
    if facts.command_versions:
        rows[_COMMAND] = facts.command_versions
    usual = _most_common(rows)
    for node, versions in rows.items():
        names = sorted({*usual, *versions})
        odd = [
            f"{name} {versions.get(name, 'none')}, not {usual.get(name, 'any')}"
            for name in names
            if versions.get(name) != usual.get(name)
        ]
        same = f"Python {versions.get('python')}, Ray {versions.get('ray')}, "
        yield Check(
            "versions",
            node,
            "; ".join(odd) or f"{same}verl {versions.get('verl')}, vLLM {versions.get('vllm')}",
            "Python, code and packages are the same everywhere",
            ok=not odd,
            advice="install the same lock with the same Python there, from the same commit, and "
            "start its Ray again",
            is_vital=bool(odd),
        )


def _most_common(rows: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Of each package the version that most have; of a tie the first node's."""
    names = dict.fromkeys(name for versions in rows.values() for name in versions)
    return {
        name: Counter(each[name] for each in rows.values() if name in each).most_common(1)[0][0]
        for name in names
    }


def _check_waiting(facts: ClusterFacts) -> Check:
    """An actor that is pending for ever waits for a bundle that fits nowhere (verl 7180)."""
    capacities = [_capacity(node) for node in facts.nodes]
    hopeless = [
        bundle for bundle in facts.waiting if not any(_fits(bundle, each) for each in capacities)
    ]
    value = "nothing waits"
    if facts.waiting:
        value = f"{len(facts.waiting)} bundles wait until others end"
    if hopeless:
        largest = {
            name: max((each.get(name, 0.0) for each in capacities), default=0.0)
            for name in ("CPU", "GPU")
        }
        asked = "; ".join(dict.fromkeys(map(_in_words, hopeless)))
        value = f"{asked} fits on no node; the most on one are {_in_words(largest)}"
    return Check(
        "placement",
        ALL_NODES,
        value,
        "every bundle that waits fits on a node",
        ok=not hopeless,
        advice="end the run that asks for it, or add nodes of that size; of an experiment lower "
        "training.num_gpus and raise training.num_nodes",
    )


def _capacity(node: NodeFacts) -> dict[str, float]:
    return {"CPU": node.ray.num_cpus, "GPU": node.ray.num_gpus} if node.ray else {}


def _fits(bundle: Mapping[str, float], capacity: Mapping[str, float]) -> bool:
    # Resources of other names are the asking program's own affair.
    return all(bundle.get(name, 0.0) <= capacity.get(name, 0.0) for name in ("CPU", "GPU"))


def _in_words(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{number:g} {name}" for name, number in sorted(resources.items()))


def _check_storage(node: NodeFacts, num_nodes: int) -> Check:
    unseen = node.unseen or ()
    return Check(
        "shared storage",
        node.node,
        f"{node.runs_disk.path}: "
        + ("; ".join(unseen) or f"written, and seen from {_nodes(num_nodes)}"),
        "every node writes a file there and sees those of all others",
        ok=not unseen,
        advice="put the runs (--runs DIR) on a file system that every node mounts at this path, "
        "with a user who may write there",
    )


def _check_all_reduce(found: AllReduce) -> Check:
    """What dies at the start of several GPUs or nodes dies here (verl 3350, 3445, 597)."""
    if found.backend == "nccl":
        advice = (
            "NCCL_DEBUG=INFO says where; NCCL_P2P_DISABLE=1 where cards reach each other by PCI "
            "alone, NCCL_SOCKET_IFNAME for the interface"
        )
    else:
        advice = "GLOO_SOCKET_IFNAME names the interface; open TCP between all nodes"
    return Check(
        "all-reduce",
        ALL_NODES,
        found.fault
        or f"{found.backend}, {found.num_ranks} ranks: {gigabytes(found.bytes_per_s)} a second",
        "a second of sums over all ranks, with the right result",
        ok=not found.fault,
        advice=advice,
    )
