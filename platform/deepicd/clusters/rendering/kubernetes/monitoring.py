"""What Prometheus and Grafana read in a Kubernetes cluster: targets, alerts, dashboard.

In: the alerts and the dashboard of this package. Out: manifests of the Prometheus operator, and a
ConfigMap that Grafana's sidecar loads. Decided here: the alerts are those that `promtool` tests,
word for word; they are not written a second time.
"""

import json
from importlib import resources
from typing import Any

from deepicd.clusters.description import ClusterDescription

_API = "monitoring.coreos.com/v1"
_ALERTS, _DASHBOARD = "alerts.yml", "grafana.json"
_SCRAPE = "15s"


def pod_monitor(cluster: ClusterDescription) -> dict[str, Any]:
    """Metrics of every pod that KubeRay made here."""
    return {
        **_head("PodMonitor", cluster),
        "spec": {
            "selector": {"matchExpressions": [{"key": "ray.io/cluster", "operator": "Exists"}]},
            "podMetricsEndpoints": [{"port": "metrics", "interval": _SCRAPE}],
        },
    }


def prometheus_rule(cluster: ClusterDescription) -> dict[str, Any]:
    """Our alerts."""
    import yaml

    return {**_head("PrometheusRule", cluster), "spec": yaml.safe_load(_read(_ALERTS))}


def dashboard(cluster: ClusterDescription) -> dict[str, Any]:
    """Our dashboard."""
    text = json.dumps(json.loads(_read(_DASHBOARD)), indent=1)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{cluster.name}-dashboard", "labels": {"grafana_dashboard": "1"}},
        "data": {"endpoint.json": f"{text}\n"},
    }


def _head(kind: str, cluster: ClusterDescription) -> dict[str, Any]:
    return {"apiVersion": _API, "kind": kind, "metadata": {"name": cluster.name}}


def _read(name: str) -> str:
    return resources.files("deepicd").joinpath(f"data/monitor/{name}").read_text(encoding="utf-8")
