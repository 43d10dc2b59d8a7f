"""The batch script of one job on Slurm: Ray on every node, by `ray symmetric-run`.

In: a description and the name of a job. Out: a script for `sbatch`. Decided here: the head is one
of the nodes, which are equal; the token is a file of the shared disk and refused when others may
read it; the address is that of the named interface, since a node's name may resolve to loopback.
"""

import shlex

from deepicd.clusters.description import ClusterDescription, Machine
from deepicd.clusters.places import Slurm
from deepicd.clusters.rendering.environment import node_environment
from deepicd.clusters.rendering.job_command import job_command
from deepicd.clusters.rendering.yaml_text import first_line

_OBJECT_STORE_BYTES = 10**9


def sbatch_file(cluster: ClusterDescription, name: str) -> str:
    """Text of the script."""
    parts = (
        f"#!/bin/bash\n{first_line(cluster.name)}",
        *(f"#SBATCH --{name}={value}\n" for name, value in _options(cluster, name).items()),
        _prepare(cluster),
        _start(cluster, name),
    )
    return "".join(parts)


def _options(cluster: ClusterDescription, name: str) -> dict[str, str]:
    place, machine = _place(cluster), cluster.head
    nodes = sum(count for _, _, count in cluster.machines())
    options = {
        "job-name": f"{cluster.name}-{name}",
        "partition": place.partition,
        **({"account": place.account} if place.account else {}),
        **({"qos": place.qos} if place.qos else {}),
        "nodes": str(nodes),
        "ntasks-per-node": "1",
        "cpus-per-task": f"{machine.cores or machine.cpus:g}",
        **_gpus(cluster, machine),
        "mem": f"{machine.memory_gib:g}G",
        "time": f"{cluster.jobs[name].max_hours}:00:00",
        "output": f"{cluster.storage.path}/%x.log",
        "open-mode": "append",
    }
    return options


def _gpus(cluster: ClusterDescription, machine: Machine) -> dict[str, str]:
    return {"gpus-per-node": str(machine.gpus)} if cluster.profile == "gpu" else {}


def _prepare(cluster: ClusterDescription) -> str:
    place, token = _place(cluster), cluster.token.file
    environment = node_environment(cluster)
    exports = "".join(f"export {name}='{value}'\n" for name, value in environment.items())
    return f"""
set -euo pipefail
cd {place.repository}
export PATH={place.environment}/bin:$PATH
{exports}# Ray's own limit of 30 s is too short for nodes that read Python from a shared disk.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT={place.wait_s}

if [ "$(stat -c %a {token})" != 600 ]; then
    echo "{token} is missing, or others may read it: chmod 600 it" >&2
    exit 4
fi
"""


def _start(cluster: ClusterDescription, name: str) -> str:
    place, machine = _place(cluster), cluster.head
    interface = cluster.network_interface
    address = (
        f'ip -4 -o addr show dev {interface} | awk \'{{sub("/.*", "", $4); print $4; exit}}\''
        if interface
        else "hostname --ip-address | awk '{print $1}'"
    )
    slots = f"--num-cpus={machine.cpus} --num-gpus={machine.gpus}"
    if cluster.profile == "cpu":
        slots = f"{slots} --object-store-memory={_OBJECT_STORE_BYTES}"
    return f"""
# The script runs on the first node of the allocation, which becomes the head.
address=$({address})
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" \\
    ray symmetric-run --address "$address:{place.port}" --min-nodes "$SLURM_JOB_NUM_NODES" \\
    {slots} -- \\
    {shlex.join(job_command(cluster, name))}
"""


def _place(cluster: ClusterDescription) -> Slurm:
    assert isinstance(cluster.place, Slurm), "sbatch is for Slurm"
    return cluster.place
