"""Facts of one node → checks of its cards, memory, disks and limits.

In: `NodeFacts`. Out: checks. Decided here, with the reason at each number: what a node must have,
by what Ray, torch and this platform do with it. A check that cannot fail says so in its value.
"""

from collections.abc import Callable, Iterator

from deepicd.clusters.ray_session import OBJECT_STORE_BYTES
from deepicd.doctor.facts import Check, NodeFacts, Space

_STORE_SHARE = 0.3
"""Of a node's memory: Ray's object store, unless it is told a size."""
_MAX_STORE_BYTES = 200 * 10**9
_FULL = 0.95
"""Ray writes no object to a disk that is fuller (`local_fs_capacity_threshold`)."""
_SHM_OF_GPUS = 10 * 10**9
"""NCCL's buffers and the data loaders of a GPU node (verl issue 2938)."""
_RUN_BYTES = 8 * 10**9
"""What the README asks for; `plan` says what an experiment's checkpoints take."""
_FREE_MEMORY = 4 * 10**9
"""A verl process, vLLM and Ray's own, on the CPU profile."""
_OPEN_FILES = 8192
"""Ray's own recommendation."""
_DIAGNOSE = "`nvidia-smi` on that node says more"


def check_node(facts: NodeFacts) -> Iterator[Check]:
    """Every check of this file, in the order of the issue."""
    checks: tuple[Callable[[NodeFacts], Check], ...] = (
        *(_check_gpus, _check_driver, _check_cuda, _check_cpus, _check_shm),
        *(_check_ray_disk, _check_runs_disk, _check_memory, _check_open_files),
    )
    for check in checks:
        yield check(facts)
    if facts.kernels is not None:
        yield _check_kernels(facts)


def object_store_bytes(facts: NodeFacts) -> int:
    """Size of Ray's object store on that node: as Ray says, else as it will be."""
    if facts.ray is not None and facts.ray.object_store_bytes:
        return facts.ray.object_store_bytes
    if not facts.gpus:
        return OBJECT_STORE_BYTES
    return min(_MAX_STORE_BYTES, int(_STORE_SHARE * facts.memory_bytes))


def gigabytes(number: float) -> str:
    """Bytes as people say them."""
    return f"{number / 1e9:.1f} GB"


def _check_gpus(facts: NodeFacts) -> Check:
    """Cards that Ray does not count are never used, and a trial waits for ever (verl 491, 242)."""
    seen = len(facts.gpus)
    counted = facts.ray.num_gpus if facts.ray else None
    names = ", ".join(sorted({gpu["name"] for gpu in facts.gpus}))
    value = f"{seen} {names}".strip() if seen else "none"
    if counted is not None:
        value += f"; Ray counts {counted:g}" + ("" if seen else " (logical slots)" * bool(counted))
    # Without cards Ray may count logical slots: the CPU profile wants them.
    return Check(
        "gpus",
        facts.node,
        value,
        "Ray counts every card that the driver shows",
        ok=not seen or counted in {None, float(seen)},
        advice=f"end Ray there and start it with --num-gpus={seen}, or without that option",
    )


def _check_driver(facts: NodeFacts) -> Check:
    drivers = sorted({gpu["driver_version"] for gpu in facts.gpus})
    value = ", ".join(drivers) or f"none; {facts.pci_gpus} NVIDIA cards on the bus"
    return Check(
        "driver",
        facts.node,
        value,
        "one driver, where an NVIDIA card is on the bus",
        # A container may be given some of its machine's cards, and see all of them on the bus.
        ok=len(drivers) == 1 or not facts.pci_gpus + len(drivers),
        advice="install NVIDIA's driver and nvidia-smi, or give the container its cards "
        f"(--gpus all); {_DIAGNOSE}",
    )


def _check_cuda(facts: NodeFacts) -> Check:
    """A driver serves every minor version of the CUDA major version that it knows, and older."""
    driver, torch = facts.cuda or "none", facts.torch_cuda
    ok = not (facts.gpus and torch) or _major(facts.cuda) >= _major(torch)
    return Check(
        "cuda",
        facts.node,
        f"driver {driver}, torch {torch or 'for CPU'}" if facts.kernels else f"driver {driver}",
        "the driver's major version is torch's or newer",
        ok=ok and not (facts.gpus and facts.kernels is not None and not torch),
        advice="update the driver, or install the GPU profile's lock (requirements/gpu.lock)",
    )


def _major(version: str) -> int:
    head = version.partition(".")[0]
    return int(head) if head.isdigit() else 0


def _check_cpus(facts: NodeFacts) -> Check:
    """Ray counts the machine's CPUs, of which Slurm gave it a part (verl 523)."""
    environment, counted = facts.environment, facts.ray.num_cpus if facts.ray else None
    told = environment.get("SLURM_CPUS_PER_TASK") or environment.get("SLURM_CPUS_ON_NODE") or ""
    given = int(told) if "SLURM_JOB_ID" in environment and told.isdigit() else None
    return Check(
        "cpus",
        facts.node,
        f"Ray counts {'none yet' if counted is None else f'{counted:g}'}, "
        f"Slurm gives {given or 'no limit'}",
        "no more than the allocation",
        ok=given is None or counted is None or counted <= given,
        advice=f"start Ray there with --num-cpus={given} (SLURM_CPUS_PER_TASK); else its workers "
        "fail to register",
    )


def _check_shm(facts: NodeFacts) -> Check:
    """Ray puts the object store into a folder of the disk where it does not fit here."""
    wanted = max(object_store_bytes(facts), _SHM_OF_GPUS if facts.gpus else 0)
    return Check(
        "shm",
        facts.node,
        f"{gigabytes(facts.shm.total)}, {gigabytes(facts.shm.free)} free",
        f"at least {gigabytes(wanted)} in all",
        ok=facts.shm.total >= wanted,
        advice=f"give the container a larger {facts.shm.path} (--shm-size, on Kubernetes an "
        "emptyDir of medium Memory), or start Ray with a lower --object-store-memory",
    )


def _check_ray_disk(facts: NodeFacts) -> Check:
    """The 30 % rule: the object store takes 30 % of memory, and spills to this disk as much as it
    holds (ray 49173).
    """
    disk, wanted = facts.ray_disk, object_store_bytes(facts)
    is_full = _used_share(disk) >= _FULL
    return Check(
        "ray disk",
        facts.node,
        f"{disk.path}: {gigabytes(disk.free)} free, {_used_share(disk):.0%} used",
        f"{gigabytes(wanted)} free (the size of the object store, which spills there), less than "
        f"{_FULL:.0%} used",
        ok=disk.free >= wanted and not is_full,
        advice=f"free some of it; `ray start --temp-dir` (RAY_TMPDIR) names another disk for "
        f"{disk.path}",
        is_vital=is_full,
    )


def _used_share(disk: Space) -> float:
    return 1 - disk.free / disk.total if disk.total else 1.0


def _check_runs_disk(facts: NodeFacts) -> Check:
    disk = facts.runs_disk
    return Check(
        "runs disk",
        facts.node,
        f"{disk.path}: {gigabytes(disk.free)} free",
        f"at least {gigabytes(_RUN_BYTES)} free; `deepicd plan` says what checkpoints take",
        ok=disk.free >= _RUN_BYTES,
        advice="free some, or name a folder on another disk with --runs; `deepicd cache prune` "
        "removes stages that no run needs",
    )


def _check_memory(facts: NodeFacts) -> Check:
    return Check(
        "memory",
        facts.node,
        f"{gigabytes(facts.memory_bytes)}, {gigabytes(facts.available_bytes)} available",
        f"at least {gigabytes(_FREE_MEMORY)} available",
        ok=facts.available_bytes >= _FREE_MEMORY,
        advice="end what else needs it (`ps --sort=-rss`), or take a larger machine; Ray ends "
        "workers where 95 % is used",
    )


def _check_open_files(facts: NodeFacts) -> Check:
    limit = "unlimited" if facts.open_files < 0 else str(facts.open_files)
    return Check(
        "open files",
        facts.node,
        limit,
        f"a hard limit of at least {_OPEN_FILES}",
        ok=facts.open_files < 0 or facts.open_files >= _OPEN_FILES,
        advice="raise it before Ray starts: `ulimit -Hn 65536`, LimitNOFILE= of a service, "
        "--ulimit nofile=65536 of a container",
    )


def _check_kernels(facts: NodeFacts) -> Check:
    kernels = facts.kernels or {}
    faults = [f"{name}: {fault}" for name, fault in kernels.items() if fault]
    return Check(
        "attention kernels",
        facts.node,
        "; ".join(faults) or f"{', '.join(kernels)} work",
        "each is imported, and torch's is called",
        ok=bool(kernels) and not faults,
        advice="install the locked set of the profile again (`make setup`): a kernel is built for "
        "one version of torch and for the processor or card it runs on",
    )
