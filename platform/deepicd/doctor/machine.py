"""Facts of the machine that this process runs on.

In: the folder of the runs, and Ray's. Out: `NodeFacts` without what only a cluster tells. Decided
here: the kernel's files and the standard tools are read, nothing is started that takes longer than
a second. A container's own limits count where they are lower than the machine's. Of the
environment a few variables are taken, and of an address in them no user and password.
"""

import ipaddress
import os
import re
import resource
import shutil
import socket
import stat
from collections.abc import Mapping
from pathlib import Path

import psutil

from deepicd import provenance
from deepicd.doctor.facts import Network, NodeFacts, RayShare, Space, Token
from deepicd.files import nearest_folder

VARIABLES = (
    *("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "RAY_NETWORK_INTERFACE"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    *("TORCH_NCCL_ASYNC_ERROR_HANDLING", "TORCH_NCCL_ENABLE_MONITORING"),
    *("SLURM_JOB_ID", "SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"),
)
_USER = re.compile(r"(?<=//)[^/@]*@")
_NVIDIA = "0x10de"
_DISPLAY = "0x03"  # PCI class of display controllers: a card's sound is a device too
_PCI = Path("/sys/bus/pci/devices")
_CGROUP = Path("/sys/fs/cgroup")
_ANYWHERE = "192.0.2.1"  # an address of documentation (RFC 5737): no packet is sent to it


def read_machine(
    runs: Path, *, ray_folder: Path, peer: str = _ANYWHERE, ray: RayShare | None = None
) -> NodeFacts:
    """Facts of this machine.

    Args:
        runs: folder of the runs; it need not exist.
        ray_folder: where Ray keeps its session and spills objects.
        peer: address of another node; the route there is the one that matters.
        ray: what Ray counts of this node, where one runs.
    """
    gpus = provenance.read_gpus()
    total, available = _memory()
    return NodeFacts(
        node=socket.gethostname(),
        address=_own_address(peer),
        pci_gpus=_count_pci_gpus(),
        gpus=tuple(gpus["gpus"]),
        cuda=gpus["cuda"] or "",
        memory_bytes=total,
        available_bytes=available,
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        shm=space_of(Path("/dev/shm")),
        ray_disk=space_of(ray_folder),
        runs_disk=space_of(runs),
        versions=provenance.versions(),
        environment=pick_variables(os.environ),
        network=_network(peer),
        token=read_token(os.environ, is_asked=ray is None),
        ray=ray,
    )


def space_of(path: Path) -> Space:
    """The file system that a folder lies on, or would lie on."""
    usage = shutil.disk_usage(nearest_folder(path))
    return Space(str(path), usage.total, usage.free)


def fault_of_writing(file: Path) -> str:
    """Write a new, empty file; why not, empty where it is written."""
    try:
        file.touch(exist_ok=False)
    except OSError as error:
        return f"cannot write there: {error.strerror}"
    return ""


def pick_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that checks read, without users and passwords in addresses."""
    named = {name: environment[name] for name in VARIABLES if environment.get(name)}
    return {name: _USER.sub("", value) for name, value in named.items()}


def read_token(environment: Mapping[str, str], *, is_asked: bool) -> Token:
    """What the environment says of Ray's token.

    Args:
        environment: variables.
        is_asked: whether Ray asks for one where no variable says so. A Ray that a command starts
            here has a token of its own.
    """
    mode = environment.get("RAY_AUTH_MODE", "").lower()
    asked = mode == "token" if mode else is_asked
    path = environment.get("RAY_AUTH_TOKEN_PATH", "")
    return Token(asked, path, _fault_of_token(Path(path)) if path else "")


def _fault_of_token(path: Path) -> str:
    if not path.is_file():
        return "no such file"
    status = path.stat()
    if status.st_size == 0:
        return "the file is empty"
    mode = stat.S_IMODE(status.st_mode)
    return f"others can read it (mode {mode:o})" if mode & 0o077 else ""


def _count_pci_gpus(devices: Path = _PCI) -> int:
    def read(device: Path, name: str) -> str:
        try:
            return (device / name).read_text(encoding="utf-8").strip()
        except OSError:
            return ""

    found = devices.iterdir() if devices.is_dir() else ()
    return sum(
        read(device, "vendor") == _NVIDIA and read(device, "class").startswith(_DISPLAY)
        for device in found
    )


def _memory(cgroup: Path = _CGROUP) -> tuple[int, int]:
    """Bytes in all and available, of the machine or of this container if that has less."""
    machine = psutil.virtual_memory()
    limit, used = (_number(cgroup / f"memory.{name}") for name in ("max", "current"))
    if limit is None or used is None or limit >= machine.total:
        return machine.total, machine.available
    # The page cache of a container counts as used there, and is given back when it is needed.
    cache = _inactive_file(cgroup / "memory.stat")
    return limit, min(machine.available, max(0, limit - used + cache))


def _number(path: Path) -> int | None:
    """What a file of the control group says; None where it is not there, or sets no limit."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _inactive_file(path: Path) -> int:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))


def _network(peer: str) -> Network:
    interfaces = {
        name: tuple(
            each.address for each in addresses if each.family in (socket.AF_INET, socket.AF_INET6)
        )
        for name, addresses in psutil.net_if_addrs().items()
    }
    own = _own_address(peer)
    route = next((name for name, addresses in interfaces.items() if own in addresses), "")
    return Network(interfaces, route, _resolve(socket.gethostname()))


def _own_address(peer: str) -> str:
    """The address with which this machine reaches another; loopback where it has no route."""
    family = socket.AF_INET6 if ipaddress.ip_address(peer).version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            # Of a datagram socket this only chooses a route.
            probe.connect((peer, 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def _resolve(name: str) -> str:
    try:
        return socket.gethostbyname(name)
    except OSError:
        return ""
