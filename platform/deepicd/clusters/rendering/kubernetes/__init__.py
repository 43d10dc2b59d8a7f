"""Manifests for Kubernetes with KubeRay 1.7, by Kustomize.

In: a description, and for each job of kind `serve` Ray Serve's configuration. Out: relative path →
text. Decided here: the base holds what outlives every job (claim, alerts, dashboard), an overlay
adds one thing that runs; so an overlay is launched by itself and its file deleted by itself, and
the claim stays.
"""

from collections.abc import Mapping
from typing import Any

from deepicd.clusters.description import ClusterDescription
from deepicd.clusters.places import Kubernetes
from deepicd.clusters.rendering.kubernetes.monitoring import dashboard, pod_monitor, prometheus_rule
from deepicd.clusters.rendering.kubernetes.resources import (
    ray_cluster,
    ray_cron_job,
    ray_job,
    ray_service,
    volume_claim,
)
from deepicd.clusters.rendering.yaml_text import yaml_text

_KUSTOMIZATION = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
CLUSTER = "cluster"
"""Name of the overlay that is the cluster alone, without a job."""


def kubernetes_files(
    cluster: ClusterDescription, serve_configs: Mapping[str, Any]
) -> dict[str, str]:
    """Every manifest of a cluster."""
    base = {
        "volume-claim.yaml": volume_claim(cluster),
        "pod-monitor.yaml": pod_monitor(cluster),
        "prometheus-rule.yaml": prometheus_rule(cluster),
        "dashboard.yaml": dashboard(cluster),
    }
    files = {f"base/{name}": manifest for name, manifest in base.items()}
    files["base/kustomization.yaml"] = {**_KUSTOMIZATION, "resources": list(base)}
    for name, manifest in _overlays(cluster, serve_configs).items():
        file = overlay_file(name)
        files[file] = manifest
        files[f"overlays/{name}/kustomization.yaml"] = _overlay(cluster, file)
    return {name: yaml_text(manifest, name=cluster.name) for name, manifest in files.items()}


def overlay_file(name: str) -> str:
    """The manifest of one overlay's own resource."""
    return f"overlays/{name}/{name}.yaml"


def _overlays(
    cluster: ClusterDescription, serve_configs: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    found = {CLUSTER: ray_cluster(cluster)}
    for name, job in cluster.jobs.items():
        if job.kind == "serve":
            found[name] = ray_service(cluster, name, serve_config=serve_configs[name])
        else:
            found[name] = (ray_cron_job if job.schedule else ray_job)(cluster, name)
    return found


def _overlay(cluster: ClusterDescription, file: str) -> dict[str, Any]:
    assert isinstance(cluster.place, Kubernetes), "only there are overlays"
    own = file.rpartition("/")[2]
    resources = {"resources": ["../../base", own]}
    return {**_KUSTOMIZATION, "namespace": cluster.place.namespace, **resources}
