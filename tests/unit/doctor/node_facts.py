"""Facts of nodes for tests: one that is well, changed where it is broken."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from deepicd.doctor.examination import judge
from deepicd.doctor.facts import (
    Check,
    ClusterFacts,
    Network,
    NodeFacts,
    RayShare,
    Space,
    Token,
)

GB = 10**9
CARD = {"name": "NVIDIA H100", "driver_version": "570.86", "memory.total": "81559 MiB"}
VERSIONS = {"python": "3.11.7", "ray": "2.60.0", "verl": "0.9.1", "vllm": "0.24.0", "code": "a1"}


def well_node(name: str = "first", number: int = 1, **changes: Any) -> NodeFacts:
    """A node with 8 cards that is well, with some of its facts changed."""
    address = f"10.0.0.{number}"
    facts = NodeFacts(
        node=name,
        address=address,
        pci_gpus=8,
        gpus=(CARD,) * 8,
        cuda="12.8",
        memory_bytes=1000 * GB,
        available_bytes=900 * GB,
        open_files=1_048_576,
        shm=Space("/dev/shm", 500 * GB, 499 * GB),
        ray_disk=Space("/tmp/ray", 3000 * GB, 2000 * GB),
        runs_disk=Space("/shared/runs", 9000 * GB, 5000 * GB),
        versions=VERSIONS,
        environment={},
        network=Network({"lo": ("127.0.0.1",), "eth0": (address,), "ib0": ()}, "eth0", address),
        token=Token(is_asked=True),
        ray=RayShare(num_gpus=8, num_cpus=64, object_store_bytes=200 * GB),
        clock_s=0.01,
        clock_error_s=0.002,
        unseen=(),
        kernels={"torch": "", "flashinfer": ""},
        torch_cuda="12.6",
    )
    return replace(facts, **changes)


def cpu_node(**changes: Any) -> NodeFacts:
    """A machine without a card and without a Ray."""
    without = {"pci_gpus": 0, "gpus": (), "cuda": "", "torch_cuda": "", "ray": None}
    return well_node(**{**without, "shm": Space("/dev/shm", 2 * GB, 2 * GB), **changes})


def with_network(facts: NodeFacts, **changes: Any) -> NodeFacts:
    """A node with other facts of its network."""
    return replace(facts, network=replace(facts.network, **changes))


def pair(**changes: Any) -> ClusterFacts:
    """Two nodes, of which the second is broken as `changes` say."""
    return ClusterFacts((well_node(), well_node("second", 2, **changes)))


def failed(facts: ClusterFacts, num_nodes: int | None = None) -> Mapping[str, Check]:
    """The checks that are not ok, by name."""
    return {check.name: check for check in judge(facts, num_nodes) if not check.ok}
