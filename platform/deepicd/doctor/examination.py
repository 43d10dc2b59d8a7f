"""The whole examination, for `deepicd doctor` and, the cheap half of it, before a run.

In: the folder of the runs. Out: checks. Decided here: what is cheap starts no process of its own:
files, limits, names, clocks. The other half writes to the runs' folder, imports torch and vLLM and
sums for a second over all ranks.
"""

import logging
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from deepicd.clusters.local_gpus import count_gpus
from deepicd.config import ServingConfig
from deepicd.doctor.cluster_checks import check_cluster
from deepicd.doctor.facts import AllReduce, Check, ClusterFacts, NodeFacts
from deepicd.doctor.machine import fault_of_writing, read_machine
from deepicd.doctor.network_checks import check_network
from deepicd.doctor.node_checks import check_node
from deepicd.errors import CapacityError
from deepicd.files import nearest_folder

_log = logging.getLogger(__name__)

_FIELDS = ("name", "node", "value", "wanted", "ok", "advice")


@dataclass(frozen=True)
class Examination:
    """What was found."""

    checks: tuple[Check, ...]

    @property
    def exit_code(self) -> int:
        """0 where all is well."""
        return 0 if all(check.ok for check in self.checks) else CapacityError.exit_code

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        rows = [asdict(check) for check in self.checks]
        return {"checks": [{name: row[name] for name in _FIELDS} for row in rows]}


def examine(runs: Path, *, is_quick: bool = False) -> Examination:
    """Examine this machine.

    Args:
        runs: folder of the runs; where it does not exist, what would hold it.
        is_quick: leave out what takes longer than seconds.
    """
    facts = _read_alone(nearest_folder(runs), is_thorough=not is_quick)
    return Examination(tuple(judge(facts)))


def judge(facts: ClusterFacts, num_nodes: int | None = None) -> list[Check]:
    """Every check of a cluster: of all nodes, then node by node.

    Args:
        facts: of all nodes.
        num_nodes: how many there must be; None takes those that are there.
    """
    addresses = [node.address for node in facts.nodes]
    checks = list(check_cluster(facts, num_nodes))
    for node in facts.nodes:
        checks += [*check_node(node), *check_network(node, addresses)]
    return checks


def _read_alone(runs: Path, *, is_thorough: bool) -> ClusterFacts:
    """Facts of this machine, where no Ray runs.

    Args:
        runs: folder of the runs.
        is_thorough: also what takes longer than seconds.
    """
    facts = read_machine(runs, ray_folder=_ray_folder(os.environ))
    return _look_closer(facts, runs) if is_thorough else ClusterFacts((facts,))


def check_before_run(checks: Sequence[Check]) -> None:
    """Warn of what is not well, and refuse a run where that is certain to end it.

    Raises:
        CapacityError: names the first.
    """
    for check in checks:
        if not check.ok and not check.is_vital:
            _log.warning(f"{describe(check)} (`deepicd doctor` tells all)")
    vital = [check for check in checks if check.is_vital]
    if vital:
        more = f" ({len(vital) - 1} more: deepicd doctor)" if len(vital) > 1 else ""
        raise CapacityError(f"{describe(vital[0])}{more}")


def describe(check: Check) -> str:
    """One check that failed, as a sentence."""
    return f"{check.name} on {check.node}: {check.value}; wanted: {check.wanted}; {check.advice}"


def _look_closer(facts: NodeFacts, runs: Path) -> ClusterFacts:
    from deepicd.doctor.kernels import run_kernels

    found = run_kernels()
    file = runs / f".seen-{uuid4().hex}"
    fault = fault_of_writing(file)
    file.unlink(missing_ok=True)
    port = ServingConfig().port
    facts = replace(
        facts,
        kernels=found["kernels"],
        torch_cuda=found["cuda"],
        unseen=(fault,) if fault else (),
        network=replace(facts.network, ports={f"endpoint {port}": _fault_of_port(port)}),
    )
    return ClusterFacts((facts,), all_reduce=_sum_here(facts))


def _fault_of_port(port: int) -> str:
    with socket.socket() as probe:
        # What a server that ended left behind is no server.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return str(error.strerror)
    return ""


def _sum_here(facts: NodeFacts) -> AllReduce:
    from deepicd.doctor.all_reduce import free_port, plan_ranks, run_ranks

    backend, ranks = plan_ranks({facts.node: min(len(facts.gpus), count_gpus())})
    (here,) = ranks.values()
    speed, fault = run_ranks(backend, here, len(here), address="127.0.0.1", port=free_port())
    return AllReduce(backend, len(here), speed, fault)


def _ray_folder(environment: Mapping[str, str]) -> Path:
    """Where a Ray that starts here keeps its session."""
    return Path(environment.get("RAY_TMPDIR") or "/tmp") / "ray"
