"""The pods of a Ray cluster on Kubernetes: head and worker groups.

In: a description. Out: the specification that RayCluster, RayJob, RayService and RayCronJob share.
Decided here: no pod is root or gains privileges; requests equal limits, so that no pod of ours is
evicted for another's memory; /dev/shm is a volume in memory, counted in the pod's limit; what Ray
spills goes to a volume on disk with a size; no trial runs on the head.
"""

from typing import Any

from deepicd.clusters.description import ClusterDescription, Machine, WorkerGroup
from deepicd.clusters.places import Kubernetes
from deepicd.clusters.rendering.environment import node_environment
from deepicd.clusters.rendering.job_command import IMAGE_REPOSITORY

_RAY_VERSION = "2.60.0"
"""Ray of both locks; KubeRay asks for it."""
_USER = 1000
_OBJECT_STORE_BYTES = 10**9
_GPU = "nvidia.com/gpu"
_SHM, _SPILL, _SHARED = "shm", "ray", "deepicd"


def ray_cluster_spec(cluster: ClusterDescription) -> dict[str, Any]:
    """`spec` of a RayCluster."""
    return {
        "rayVersion": _RAY_VERSION,
        "authOptions": {"mode": "token", "secretName": cluster.token.secret},
        **_autoscaling(cluster),
        "headGroupSpec": {
            "rayStartParams": _start(cluster, cluster.head, is_head=True),
            "template": _pod(cluster, cluster.head, is_head=True),
        },
        "workerGroupSpecs": [_worker_group(cluster, group) for group in cluster.workers],
    }


def _autoscaling(cluster: ClusterDescription) -> dict[str, Any]:
    # Where every group is of fixed size the autoscaler has nothing to decide.
    if all(group.min == group.max for group in cluster.workers):
        return {}
    return {
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {"version": "v2", "idleTimeoutSeconds": 300},
    }


def _worker_group(cluster: ClusterDescription, group: WorkerGroup) -> dict[str, Any]:
    return {
        "groupName": group.name,
        "replicas": group.min,
        "minReplicas": group.min,
        "maxReplicas": group.max,
        "rayStartParams": _start(cluster, group, is_head=False),
        "template": _pod(cluster, group, is_head=False),
    }


def _start(cluster: ClusterDescription, machine: Machine, *, is_head: bool) -> dict[str, str]:
    cpus = 0 if is_head and cluster.workers and not machine.gpus else machine.cpus
    values = {"num-cpus": str(cpus)}
    if is_head:
        values["dashboard-host"] = "0.0.0.0"
    if cluster.profile == "cpu":
        values |= {"num-gpus": str(machine.gpus), "object-store-memory": str(_OBJECT_STORE_BYTES)}
    return values


def _pod(cluster: ClusterDescription, machine: Machine, *, is_head: bool) -> dict[str, Any]:
    return {
        "spec": {
            "automountServiceAccountToken": _needs_api(cluster, is_head=is_head),
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "fsGroup": _USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            **_priority(cluster),
            **_whereto(cluster, machine),
            "containers": [_container(cluster, machine, is_head=is_head)],
            "volumes": _volumes(cluster, machine),
        }
    }


def _needs_api(cluster: ClusterDescription, *, is_head: bool) -> bool:
    # The autoscaler beside the head asks Kubernetes for pods; nothing else of ours does.
    return is_head and bool(_autoscaling(cluster))


def _priority(cluster: ClusterDescription) -> dict[str, str]:
    queue = cluster.queue
    is_of_pods = queue is not None and queue.kind in ("kai", "yunikorn") and bool(queue.priority)
    return {"priorityClassName": queue.priority} if queue and is_of_pods else {}


def _whereto(cluster: ClusterDescription, machine: Machine) -> dict[str, Any]:
    place = cluster.place
    assert isinstance(place, Kubernetes), "pods are of Kubernetes"
    if not machine.gpus:
        return {}
    taints = [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in place.taints]
    selector = {"nodeSelector": dict(place.node_selector)} if place.node_selector else {}
    return {**selector, **({"tolerations": taints} if taints else {})}


def _container(cluster: ClusterDescription, machine: Machine, *, is_head: bool) -> dict[str, Any]:
    container = {
        "name": "ray-head" if is_head else "ray-worker",
        "image": cluster.image,
        "workingDir": IMAGE_REPOSITORY,
        "env": _env(cluster),
        **({"ports": _ports()} if is_head else {"ports": [_port("metrics", 8080)]}),
        "resources": _resources(cluster, machine),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": _SHARED, "mountPath": cluster.storage.path},
            {"name": _SHM, "mountPath": "/dev/shm"},
            {"name": _SPILL, "mountPath": "/tmp/ray"},
        ],
    }
    if not is_head:
        # A worker that goes says so, and its work moves, before its processes are killed.
        container["lifecycle"] = {"preStop": {"exec": {"command": ["ray", "stop"]}}}
    return container


def _ports() -> list[dict[str, Any]]:
    ports = {"gcs-server": 6379, "dashboard": 8265, "client": 10001, "serve": 8000, "metrics": 8080}
    return [_port(name, number) for name, number in ports.items()]


def _port(name: str, number: int) -> dict[str, Any]:
    return {"name": name, "containerPort": number}


def _env(cluster: ClusterDescription) -> list[dict[str, Any]]:
    plain = [{"name": name, "value": value} for name, value in node_environment(cluster).items()]
    # The endpoint's own token; only RayServices need the key, so pods start without it.
    key = {"name": cluster.token.secret, "key": "deepicd_token", "optional": True}
    return [*plain, {"name": "DEEPICD_TOKEN", "valueFrom": {"secretKeyRef": key}}]


def _resources(cluster: ClusterDescription, machine: Machine) -> dict[str, Any]:
    cores = machine.cores or machine.cpus
    size = {"cpu": f"{cores:g}", "memory": f"{machine.memory_gib:g}Gi"}
    if cluster.profile == "gpu" and machine.gpus:
        size[_GPU] = str(machine.gpus)
    return {"requests": size, "limits": dict(size)}


def _volumes(cluster: ClusterDescription, machine: Machine) -> list[dict[str, Any]]:
    shm = {"medium": "Memory", "sizeLimit": f"{machine.shm_gib:g}Gi"}
    return [
        {"name": _SHARED, "persistentVolumeClaim": {"claimName": cluster.storage.claim}},
        {"name": _SHM, "emptyDir": shm},
        {"name": _SPILL, "emptyDir": {"sizeLimit": f"{machine.disk_gib}Gi"}},
    ]
