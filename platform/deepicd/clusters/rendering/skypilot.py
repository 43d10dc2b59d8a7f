"""The SkyPilot task of one job, on the machines of a cloud.

In: a description and the name of a job. Out: a task for `sky launch`. Decided here: SkyPilot runs a
Ray of its own on each machine, where `ray symmetric-run` refuses to start, so ours is started by
`ray start` on another port; all nodes are equal there, so the first worker group is what is asked
for and the head is one of them.
"""

import shlex
from typing import Any

from deepicd.clusters.description import ClusterDescription
from deepicd.clusters.rendering.environment import node_environment
from deepicd.clusters.rendering.job_command import IMAGE_REPOSITORY, job_command
from deepicd.clusters.rendering.yaml_text import yaml_text

_PORT = 6379
_TOKEN = "/tmp/deepicd-token"
_WAIT_S = 600


def skypilot_file(cluster: ClusterDescription, name: str) -> str:
    """Text of the task."""
    return yaml_text(_task(cluster, name), name=cluster.name)


def _task(cluster: ClusterDescription, name: str) -> dict[str, Any]:
    environment = {**node_environment(cluster), "RAY_AUTH_TOKEN_PATH": _TOKEN}
    group = cluster.workers[0]
    return {
        "name": f"{cluster.name}-{name}",
        "num_nodes": group.max,
        "resources": _resources(cluster),
        "file_mounts": {_TOKEN: cluster.token.file},
        "envs": environment,
        "setup": _setup(cluster),
        "run": _run(cluster, name),
    }


def _resources(cluster: ClusterDescription) -> dict[str, Any]:
    group, place = cluster.workers[0], cluster.place
    size = group.instance
    if place.kind == "azure":
        size = f"Standard_{size.removeprefix('Standard_')}"
    return {
        "infra": f"{place.kind}/{getattr(place, 'region', '*')}",
        "instance_type": size,
        "image_id": f"docker:{cluster.image}",
        "disk_size": group.disk_gib,
        "use_spot": group.is_spot,
    }


def _setup(cluster: ClusterDescription) -> str:
    path, nfs = cluster.storage.path, cluster.storage.nfs
    mount = f"mountpoint -q {path} || sudo mount -t nfs4 -o hard {nfs} {path}\n" if nfs else ""
    return f"sudo mkdir -p {path}\n{mount}"


def _run(cluster: ClusterDescription, name: str) -> str:
    return f"""set -eu
cd {IMAGE_REPOSITORY}
head=$(echo "$SKYPILOT_NODE_IPS" | head -n1)
if [ "$SKYPILOT_NODE_RANK" != 0 ]; then
    exec ray start --block --address="$head:{_PORT}"
fi
ray start --head --port={_PORT} --node-ip-address="$head" --dashboard-host=127.0.0.1
export RAY_ADDRESS="$head:{_PORT}"
# Every node, or none: a trial over nodes would wait for ever.
for _ in $(seq {_WAIT_S // 5}); do
    nodes=$(python -c 'import ray; ray.init(logging_level="error"); print(len(ray.nodes()))')
    [ "$nodes" -ge "$SKYPILOT_NUM_NODES" ] && break
    sleep 5
done
[ "$nodes" -ge "$SKYPILOT_NUM_NODES" ] || {{ echo "$nodes nodes came" >&2; exit 5; }}
{shlex.join(job_command(cluster, name))}
ray stop
"""
