"""KubeRay's four resources, and the claim for what they share.

In: a description and the name of a job. Out: manifests as plain values. Decided here: a job that
ended gives its GPUs back at once and keeps its head for an hour, where its logs are; one that
failed keeps its workers for ten minutes, to be looked at; one that gets no pods fails. Kueue takes
no deletion rules: there the whole cluster goes with the job, and its log stays in the submitter's
pod.
"""

from typing import Any

from deepicd.clusters.description import ClusterDescription, Queue
from deepicd.clusters.places import Kubernetes
from deepicd.clusters.rendering.job_command import job_command
from deepicd.clusters.rendering.kubernetes.pods import ray_cluster_spec

_API = "ray.io/v1"
_HOUR_S = 3600
_AT_ONCE = 0
_TO_LOOK_S = 600


def volume_claim(cluster: ClusterDescription) -> dict[str, Any]:
    """PersistentVolumeClaim of the shared storage."""
    storage = cluster.storage
    named = {"storageClassName": storage.class_name} if storage.class_name else {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": storage.claim},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            **named,
            "resources": {"requests": {"storage": f"{storage.size_gib}Gi"}},
        },
    }


def ray_cluster(cluster: ClusterDescription) -> dict[str, Any]:
    """A cluster that stays until it is deleted."""
    return _resource(cluster, "RayCluster", cluster.name, spec=ray_cluster_spec(cluster))


def ray_job(cluster: ClusterDescription, name: str) -> dict[str, Any]:
    """A job with a cluster of its own."""
    return _resource(cluster, "RayJob", f"{cluster.name}-{name}", spec=_job_spec(cluster, name))


def ray_cron_job(cluster: ClusterDescription, name: str) -> dict[str, Any]:
    """A job by the clock (behind KubeRay's feature gate RayCronJob)."""
    spec = {"schedule": cluster.jobs[name].schedule, "jobTemplate": _job_spec(cluster, name)}
    return _resource(cluster, "RayCronJob", f"{cluster.name}-{name}", spec=spec)


def ray_service(cluster: ClusterDescription, name: str, *, serve_config: str) -> dict[str, Any]:
    """The endpoint of one version; another image comes by a new cluster, without a gap."""
    spec = {
        "upgradeStrategy": {"type": "NewCluster"},
        "serveConfigV2": serve_config,
        "rayClusterConfig": ray_cluster_spec(cluster),
    }
    return _resource(cluster, "RayService", f"{cluster.name}-{name}", spec=spec)


def _job_spec(cluster: ClusterDescription, name: str) -> dict[str, Any]:
    assert isinstance(cluster.place, Kubernetes), "these manifests are for Kubernetes"
    return {
        "entrypoint": " ".join(job_command(cluster, name)),
        "submissionMode": "K8sJobMode",
        # Never by itself: `deepicd resume` goes on with a run, and a second start would not.
        "backoffLimit": 0,
        "activeDeadlineSeconds": cluster.jobs[name].max_hours * _HOUR_S,
        "preRunningDeadlineSeconds": cluster.place.max_wait_minutes * 60,
        **_ending(cluster.queue),
        "rayClusterSpec": ray_cluster_spec(cluster),
    }


def _ending(queue: Queue | None) -> dict[str, Any]:
    if queue is not None and queue.kind == "kueue":
        return {"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": 60}
    rules = [
        _rule("SUCCEEDED", _AT_ONCE, "DeleteWorkers"),
        _rule("SUCCEEDED", _HOUR_S, "DeleteCluster"),
        _rule("FAILED", _TO_LOOK_S, "DeleteWorkers"),
        _rule("FAILED", _HOUR_S, "DeleteCluster"),
    ]
    return {"deletionStrategy": {"deletionRules": rules}}


def _rule(status: str, after_s: int, policy: str) -> dict[str, Any]:
    return {"condition": {"jobStatus": status, "ttlSeconds": after_s}, "policy": policy}


def _resource(
    cluster: ClusterDescription, kind: str, name: str, *, spec: dict[str, Any]
) -> dict[str, Any]:
    labels = {"app.kubernetes.io/part-of": "deepicd", **_queue_labels(cluster.queue, name)}
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": _API, "kind": kind, "metadata": metadata, "spec": spec}


def _queue_labels(queue: Queue | None, name: str) -> dict[str, str]:
    """Labels by which a scheduler admits all pods of a resource or none."""
    if queue is None:
        return {}
    labels = {
        "kueue": {"kueue.x-k8s.io/queue-name": queue.name},
        "kai": {"kai.scheduler/queue": queue.name},
        "volcano": {"volcano.sh/queue-name": queue.name},
        "yunikorn": {
            "yunikorn.apache.org/queue": queue.name,
            "yunikorn.apache.org/app-id": name,
            "ray.io/gang-scheduling-enabled": "true",
        },
    }[queue.kind]
    priority = {"kueue": "kueue.x-k8s.io/priority-class", "volcano": "ray.io/priority-class-name"}
    own = {priority[queue.kind]: queue.priority} if queue.kind in priority else {}
    return {**labels, **(own if queue.priority else {})}
