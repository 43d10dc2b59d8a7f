"""A cluster as its users describe it: places, machines, image, storage, token, queue, jobs.

In: a YAML file of `cluster/`. Out: a frozen `ClusterDescription`, or an error with every fault.
Decided here: one description holds for all launch paths, and `place.kind` says which of them it is
for; a file says sizes in GiB and a token by its name, never by its value; what a job runs is an
experiment file of the image (without one: of the repository that `ray up` copies).
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from deepicd.clusters.places import CLOUDS, Kubernetes, Local, OnPremises, Place, Slurm
from deepicd.config import StrictModel, known_addresses, nearest
from deepicd.config.strict_model import CONTRADICTIONS, Contradiction
from deepicd.errors import ConfigError, DataError, Fault, MissingError
from deepicd.text_lines import read_text

PYTHON = "3.11"
"""The Python that this package and its locks are for."""
_RESERVED = "cluster"
"""Name of what is rendered for a cluster without a job."""
_NAME = r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$"
_ABSOLUTE = r"^/[^\s'\"\\$`]*$"
_EQUAL = ("cpus", "gpus", "memory_gib")
_PLAIN = r"^[A-Za-z0-9._:/@-]*$"
"""What goes into commands unquoted: no blank, no quote, nothing that a shell reads."""

_Name = Annotated[str, Field(pattern=_NAME)]
_WORDS = {"missing": "is missing"}


class Machine(StrictModel):
    """One machine, or one pod: what it has, and what a GPU of it holds and costs."""

    instance: str = Field(default="", pattern=_PLAIN)
    """The cloud's name of it; empty for machines of one's own and for pods."""
    cpus: int = Field(ge=1, le=1024)
    """Cores; on the CPU profile logical slots."""
    cores: float = Field(default=0.0, ge=0, le=1024)
    """Cores that a pod asks for where `cpus` are logical slots; 0: as many as `cpus`."""
    memory_gib: float = Field(gt=0)
    """Memory in GiB; of a pod its limit, which holds /dev/shm too."""
    gpus: int = Field(default=0, ge=0, le=16)
    """GPUs; on the CPU profile logical slots, which stand in for them."""
    gpu: str = ""
    """Name of the GPU in the price table, such as H100-80GB."""
    gpu_memory_gib: float = Field(default=0.0, ge=0)
    """Memory of one GPU in GiB, where the price table does not know the GPU."""
    usd_per_gpu_hour: float | None = Field(default=None, ge=0)
    """Price of a GPU-hour in USD, where the price table does not know the GPU; 0 for one's own."""
    shm_gib: float = Field(default=10.0, gt=0)
    """/dev/shm in GiB: NCCL, the data loaders and Ray's object store live there."""
    disk_gib: int = Field(default=200, ge=20)
    """Local disk in GiB, where Ray writes logs and what does not fit its object store."""
    python: str = ""
    """Python of these machines, where it is another than the cluster's (which is refused)."""

    def contradictions(self) -> Iterator[Contradiction]:
        """Shared memory that takes all memory."""
        if self.shm_gib >= self.memory_gib:
            yield (
                ("shm_gib",),
                f"shm_gib = {self.shm_gib:g} counts into memory_gib = {self.memory_gib:g} and "
                "leaves nothing; lower it, or take a machine with more memory",
            )


class WorkerGroup(Machine):
    """Equal machines that join the head."""

    name: _Name
    min: int = Field(ge=0, le=10_000)
    """Machines at least; equal to `max` where a sweep needs them all."""
    max: int = Field(ge=0, le=10_000)
    """Machines at most."""
    is_spot: bool = False
    """Whether the provider may take them back."""

    def contradictions(self) -> Iterator[Contradiction]:
        """More machines at least than at most."""
        yield from super().contradictions()
        if self.min > self.max:
            why = f"min = {self.min} is more than max = {self.max}; lower min, or raise max"
            yield ("min",), why


class Token(StrictModel):
    """Where the cluster's token is found; never the token itself."""

    file: str = Field(default="", pattern=_PLAIN)
    """File on the machine that calls `ray up` (mode 600); on Slurm a file of the shared disk."""
    secret: str = Field(default="", pattern=_PLAIN)
    """Secret of Kubernetes with the keys `auth_token` (Ray) and `deepicd_token` (the endpoint)."""


class Storage(StrictModel):
    """What every node sees: notes, models, runs, checkpoints, registry."""

    path: str = Field(pattern=_ABSOLUTE)
    """Folder that every node mounts."""
    nfs: str = Field(default="", pattern=_PLAIN)
    """SERVER:/EXPORT that machines of a cloud mount there."""
    claim: str = Field(default="", pattern=_PLAIN)
    """PersistentVolumeClaim that pods mount there."""
    class_name: str = Field(default="", pattern=_PLAIN)
    """StorageClass of the claim; it must allow ReadWriteMany. Empty takes the cluster's own."""
    size_gib: int = Field(ge=1)
    """Size in GiB: checkpoints of all trials at once have to fit."""
    bucket: str = Field(default="", pattern=r"^$|^(s3|gs|abfs)://[A-Za-z0-9._/-]+$")
    """Bucket of the registry; empty keeps it on the path."""


class Queue(StrictModel):
    """Who decides when a job's pods start, all of them or none."""

    kind: Literal["kueue", "kai", "volcano", "yunikorn"]
    name: str = Field(pattern=_PLAIN, min_length=1)
    priority: str = Field(default="", pattern=_PLAIN)
    """Name of the priority class; empty for none."""


_NEEDED: Mapping[str, tuple[str, ...]] = {
    "sweep": ("experiment",),
    "train": ("experiment",),
    "resume": ("run",),
    "evaluate": ("model", "split"),
    "serve": (),
}
"""Kind of a job → fields that it cannot do without."""


class Job(StrictModel):
    """One thing that is run on the cluster."""

    kind: Literal["sweep", "train", "resume", "serve", "evaluate"]
    experiment: str = Field(default="", pattern=_PLAIN)
    """Experiment file, relative to the repository (sweep, train)."""
    run: str = Field(default="", pattern=_PLAIN)
    """Name of the run; the experiment's if empty (sweep, train), needed to resume."""
    arguments: tuple[Annotated[str, Field(pattern=r"^[^\s'\"\\$`;&|<>]+$")], ...] = ()
    """Further words of the command; with blanks or quotes they belong into the experiment."""
    model: str = Field(default="", pattern=_PLAIN)
    """Model folder that is evaluated; the registry's version folder that a RayService serves."""
    split: str = Field(default="", pattern=_PLAIN)
    """Parquet file of the notes that it is evaluated on."""
    schedule: str = Field(default="", pattern=r"^$|^[0-9*/, -]+$")
    """Cron schedule; Kubernetes runs the job then (RayCronJob)."""
    max_hours: int = Field(default=72, ge=1)
    """The cluster ends the job after this; a sweep caps itself (sweep.max_gpu_hours)."""

    def contradictions(self) -> Iterator[Contradiction]:
        """What a job of its kind lacks."""
        for name in _NEEDED[self.kind]:
            if not getattr(self, name):
                yield (name,), f"{name} is missing, which a job of kind {self.kind} needs; name one"


class ClusterDescription(StrictModel):
    """Everything that the launch paths are made from."""

    name: _Name
    """Name of the cluster and prefix of what is created."""
    profile: Literal["cpu", "gpu"]
    """As an experiment's: on `cpu` GPUs are logical slots."""
    place: Place
    """Where the machines are."""
    python: str = PYTHON
    """Python of every node."""
    image: str = Field(default="", pattern=_PLAIN)
    """Container image with this version in its tag; empty builds an environment on each machine."""
    network_interface: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,15}$")
    """ONE interface on the route to the head (Gloo takes no list); empty leaves it to Gloo."""
    token: Token
    storage: Storage
    head: Machine
    workers: tuple[WorkerGroup, ...] = ()
    max_machines: int = Field(default=0, ge=0)
    """Quota of machines, the head included; 0: none is known."""
    queue: Queue | None = None
    jobs: dict[_Name, Job] = {}
    """What `deepicd cluster submit FILE NAME` runs."""

    def machines(self) -> list[tuple[str, Machine, int]]:
        """Address, machine and greatest number of each kind, the head first."""
        groups = [(f"workers.{i}", group, group.max) for i, group in enumerate(self.workers)]
        return [("head", self.head, 1), *groups]

    def contradictions(self) -> Iterator[Contradiction]:
        """What does not go together, by its place."""
        yield from _machine_faults(self)
        yield from _place_faults(self)
        yield from _machines_of_place_faults(self)
        for name, job in self.jobs.items():
            if name == _RESERVED:
                why = f"jobs.{name}: {name} is the overlay without a job; name it otherwise"
                yield ("jobs", name), why
            if job.schedule and not isinstance(self.place, Kubernetes):
                why = "schedule is for Kubernetes (RayCronJob); remove it, or use cron"
                yield ("jobs", name, "schedule"), f"jobs.{name}.{why}"
            if job.kind == "serve" and isinstance(self.place, Kubernetes) and not job.model:
                why = "model is missing: a RayService serves one version; name its folder"
                yield ("jobs", name, "model"), f"jobs.{name}.{why}"


def _machine_faults(cluster: ClusterDescription) -> Iterator[Contradiction]:
    names = [group.name for group in cluster.workers]
    if len(names) > len(set(names)):
        yield ("workers",), f"workers: two groups have one name in {names}; rename one"
    number = sum(count for _, _, count in cluster.machines())
    if cluster.max_machines and number > cluster.max_machines:
        yield (
            ("max_machines",),
            f"max_machines = {cluster.max_machines} is the quota, and head and workers may be "
            f"{number}; lower workers' max, or ask for a greater quota",
        )
    for address, machine, _ in cluster.machines():
        if cluster.profile == "gpu" and machine.gpus and not machine.gpu:
            why = f"{address}.gpu is missing: {machine.gpus} GPUs of which kind? Name it"
            yield ("workers" if address != "head" else "head",), why
        for python in {machine.python or cluster.python, cluster.python} - {PYTHON}:
            yield (
                ("python",),
                f"{address}: Python {python}, and this package and its locks are for {PYTHON}; "
                f"Ray joins no machines of different Pythons. Use {PYTHON} everywhere",
            )


def _place_faults(cluster: ClusterDescription) -> Iterator[Contradiction]:
    place, pods = cluster.place, isinstance(cluster.place, Kubernetes)
    if pods and not cluster.token.secret:
        yield ("token",), "token.secret is missing: pods read the token from a Secret; name it"
    if not pods and not cluster.token.file:
        yield ("token",), "token.file is missing: name the file that holds the cluster's token"
    if pods and not cluster.storage.claim:
        yield ("storage",), "storage.claim is missing: pods mount a PersistentVolumeClaim; name it"
    if not cluster.image and (pods or isinstance(place, CLOUDS)):
        yield ("image",), "image is missing: these machines have nothing of ours; name an image"
    if cluster.queue and not pods:
        yield ("queue",), "queue is for Kubernetes; on Slurm name place.partition"
    if isinstance(place, Local) and cluster.workers:
        yield ("workers",), "workers: a local cluster is one machine; use kind: onprem for more"
    if isinstance(place, Slurm) and len(cluster.workers) > 1:
        yield ("workers",), "workers: an sbatch script asks for equal nodes; name one group"
    for group in cluster.workers if isinstance(place, Slurm) else ():
        if any(getattr(group, name) != getattr(cluster.head, name) for name in _EQUAL):
            why = f"head: on Slurm it is one of equal nodes; give it {', '.join(_EQUAL)} of workers"
            yield ("head",), why


def _machines_of_place_faults(cluster: ClusterDescription) -> Iterator[Contradiction]:
    place = cluster.place
    if isinstance(place, CLOUDS):
        for address, machine, _ in cluster.machines():
            if not machine.instance:
                keys = ("head",) if address == "head" else ("workers",)
                yield keys, f"{address}.instance is missing: name the cloud's machine"
    if isinstance(place, OnPremises):
        number = sum(group.max for group in cluster.workers)
        if number != len(place.worker_ips):
            yield (
                ("place", "worker_ips"),
                f"place.worker_ips lists {len(place.worker_ips)} machines, and workers have max = "
                f"{number} together; list each of them",
            )


def read_cluster(path: Path) -> ClusterDescription:
    """Read one description.

    Raises:
        MissingError: no such file.
        ConfigError: not YAML, or every fault of it by address.
    """
    return parse_cluster(read_table(path), source=str(path))


def read_table(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        MissingError: no such file.
        ConfigError: not YAML, or not a mapping.
    """
    import yaml

    if not path.is_file():
        raise MissingError(f"no cluster description at {path}; the ones here are cluster/*.yaml")
    try:
        table = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, DataError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(table, dict):
        raise ConfigError(f"{path} must hold a mapping; got {type(table).__name__}")
    return table


def parse_cluster(table: Mapping[str, Any], *, source: str) -> ClusterDescription:
    """A description from a nested table; `source` names where it is from.

    Raises:
        ConfigError: with every fault.
    """
    if "provider" in table:
        raise ConfigError(
            f"{source} is a file for `ray up`; a description has `place`, and `ray up` files are "
            "made of it: deepicd cluster render FILE --out DIR"
        )
    try:
        return ClusterDescription.model_validate(table)
    except ValidationError as error:
        faults = [fault for item in error.errors() for fault in _faults_of(item)]
        lines = (f"{fault.place}: {fault}" for fault in faults)
        raise ConfigError("\n  ".join([f"{source} is no description:", *lines])) from None


def _faults_of(item: Mapping[str, Any]) -> Iterator[Fault]:
    """One of pydantic's errors in our words."""
    if item["type"] == CONTRADICTIONS:
        for keys, why, value in item["ctx"]["found"]:
            yield Fault(_address(item["loc"], keys), why, value=value)
        return
    address, value = _address(item["loc"]), item["input"]
    if item["type"] == "extra_forbidden":
        name = str(item["loc"][-1])
        yield Fault(address, f"unknown field{nearest(name, _known_fields())}; remove or rename it")
        return
    words = _WORDS.get(item["type"], re.sub(r"^Value error, ", "", item["msg"]))
    shown = "" if item["type"] in _WORDS or isinstance(value, dict) else f"; got {value!r}"
    yield Fault(address, f"{words}{shown}", value=value)


def _address(keys: tuple[str | int, ...], below: tuple[str, ...] = ()) -> str:
    shown = [str(key) for key in keys]
    # The kind of the place stands among pydantic's keys, and nobody wrote it there.
    if len(shown) > 1 and shown[0] == "place":
        del shown[1]
    return ".".join([*shown, *below]) or "description"


def _known_fields() -> list[str]:
    kinds = (ClusterDescription, WorkerGroup, Token, Storage, Queue, Job)
    places = (Local, OnPremises, *CLOUDS, Kubernetes, Slurm)
    return sorted({name for kind in (*kinds, *places) for name in known_addresses(kind)})
