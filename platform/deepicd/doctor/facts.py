"""What is known of one node and of a cluster, as plain values, and what a check says of them.

In: nothing. Out: records that Ray can carry. Decided here: to gather facts is one thing, to judge
them another, so that every kind of broken node can be written down as facts (`builders` of the
tests) and no check needs the machine that it speaks of.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

ALL_NODES = "all"
"""In the place of a node's name, for a check of all of them."""


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, where, what is there, what is wanted, and the way out."""

    name: str
    node: str
    """Host name and address, or `ALL_NODES`."""
    value: str
    wanted: str
    ok: bool
    advice: str = ""
    """What to do; empty where all is well."""
    is_vital: bool = False
    """Whether a run is refused for it; else it is warned."""

    def __post_init__(self) -> None:
        """What is well needs no advice and stops nothing."""
        if self.ok:
            object.__setattr__(self, "advice", "")
            object.__setattr__(self, "is_vital", False)


@dataclass(frozen=True)
class Space:
    """A file system, in bytes."""

    path: str
    """What was asked for; what is measured may be its nearest parent."""
    total: int
    free: int


@dataclass(frozen=True)
class RayShare:
    """What Ray counts of a node; 0 bytes of object store where no Ray runs."""

    num_gpus: float
    num_cpus: float
    object_store_bytes: int


@dataclass(frozen=True)
class Network:
    """How a node is reached."""

    interfaces: Mapping[str, tuple[str, ...]]
    """Name → addresses."""
    route: str
    """Name of the interface that leads to the other nodes; empty where none is known."""
    own_address: str
    """What the node's own host name resolves to: Gloo binds to it unless told otherwise."""
    ports: Mapping[str, str] = field(default_factory=dict)
    """What this node has to reach on others, or to listen on → its fault, empty where it can."""


@dataclass(frozen=True)
class Token:
    """How a node's Ray authenticates; never the token itself."""

    is_asked: bool
    path: str = ""
    """The file that the environment names."""
    fault: str = ""
    """What is wrong with that file."""


@dataclass(frozen=True)
class NodeFacts:
    """What one node says of itself."""

    node: str
    address: str
    pci_gpus: int
    """NVIDIA GPUs on the bus, with or without a driver."""
    gpus: tuple[Mapping[str, str], ...]
    """As `nvidia-smi` lists them: name, driver_version, memory.total."""
    cuda: str
    """Newest CUDA version that the driver serves; empty without one."""
    memory_bytes: int
    available_bytes: int
    open_files: int
    """Hard limit, to which Ray raises the soft one."""
    shm: Space
    ray_disk: Space
    runs_disk: Space
    versions: Mapping[str, str]
    environment: Mapping[str, str]
    """The few variables that a check reads (`machine.VARIABLES`)."""
    network: Network
    token: Token
    ray: RayShare | None = None
    """None where no Ray runs yet."""
    clock_s: float | None = None
    """How far the clock is ahead of the asking machine's; None where that is this one."""
    clock_error_s: float = 0.0
    unseen: tuple[str, ...] | None = None
    """Nodes whose file in the runs' folder this one does not see, or a refusal to write its own;
    None where nobody looked."""
    kernels: Mapping[str, str] | None = None
    """What computes attention → its fault, empty where it works; None where nobody looked."""
    torch_cuda: str = ""
    """CUDA version that torch was built for; empty for a CPU build, or where nobody looked."""


@dataclass(frozen=True)
class AllReduce:
    """A second of sums between all ranks."""

    backend: str
    num_ranks: int
    bytes_per_s: float = 0.0
    fault: str = ""


@dataclass(frozen=True)
class ClusterFacts:
    """What is known of all nodes together."""

    nodes: tuple[NodeFacts, ...]
    silent: Mapping[str, str] = field(default_factory=dict)
    """Nodes that gave no facts → why."""
    dead: tuple[str, ...] = ()
    """Nodes that were in the cluster and are gone."""
    waiting: tuple[Mapping[str, float], ...] = ()
    """Bundles of placement groups that wait for a place: resource → number."""
    command_versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of the process that asks; empty where it asks about its own machine alone."""
    all_reduce: AllReduce | None = None
    """None where it was not tried."""
