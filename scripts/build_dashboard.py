"""Grafana's dashboard of the endpoint, built from a list of panels.

In: the panels below. Out: platform/deepicd/data/monitor/grafana.json, for Grafana (11 or newer)
with a Prometheus data source.

    python scripts/build_dashboard.py
"""

import json
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "platform" / "deepicd" / "data" / "monitor" / "grafana.json"
WIDTH, HEIGHT, COLUMNS = 12, 8, 24
SOURCE = {"type": "prometheus", "uid": "${source}"}
WHO = 'version=~"$version"'
PANELS = (
    ("Hierarchical F1", f"ray_deepicd_hierarchical_f1{{{WHO}}}", "{{version}} {{role}} {{bound}}"),
    ("Macro-F1 by level", f"ray_deepicd_macro_f1{{{WHO}}}", "{{version}} {{role}} {{level}}"),
    ("Unusable answers, non-existent codes", f"ray_deepicd_share{{{WHO}}}",
     "{{version}} {{role}} {{kind}}"),
    ("Predictions in the latest window", f"ray_deepicd_window_predictions{{{WHO}}}",
     "{{version}} {{role}} {{kind}}"),
    ("Expected calibration error", f"ray_deepicd_calibration_error{{{WHO}}}",
     "{{version}} {{role}}"),
    ("Right chapters, estimated without labels", f"ray_deepicd_estimated_accuracy{{{WHO}}}",
     "{{version}} {{role}} {{bound}}"),
    ("Drift (population stability index)", f"ray_deepicd_drift_psi{{{WHO}}}",
     "{{version}} {{role}} {{feature}}"),
    ("Alerts that fire", "ray_deepicd_alert > 0", "{{rule}} {{severity}} {{version}}"),
    ("Requests per second", "sum by (role, status) (rate(ray_deepicd_requests_total[5m]))",
     "{{role}} {{status}}"),
    ("Latency, median and 99th percentile (s)",
     "histogram_quantile(0.99, sum by (le, role) (rate(ray_deepicd_latency_seconds_bucket[5m])))",
     "{{role}} p99"),
    ("Monitor is blind", "max(ray_deepicd_monitor_blind)", "blind"),
)  # fmt: skip


def build() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    return {
        "title": "DeepICD endpoint",
        "uid": "deepicd-endpoint",
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "10s",
        "tags": ["deepicd"],
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_source(), _versions()]},
        "annotations": {"list": []},
        "panels": [
            _panel(number, title, query, legend=legend)
            for number, (title, query, legend) in enumerate(PANELS)
        ],
    }


def _panel(number: int, title: str, query: str, *, legend: str) -> dict[str, Any]:
    targets = [{"refId": "A", "expr": query, "legendFormat": legend, "datasource": SOURCE}]
    if "0.99" in query:
        median = {"expr": query.replace("0.99", "0.5"), "legendFormat": legend.replace("99", "50")}
        targets.append({"refId": "B", "datasource": SOURCE, **median})
    row, column = divmod(number * WIDTH, COLUMNS)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "datasource": SOURCE,
        "gridPos": {"x": column, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "targets": targets,
        "fieldConfig": {"defaults": {"min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "type": "datasource", "query": "prometheus", "label": "Source"}


def _versions() -> dict[str, Any]:
    return {
        "name": "version",
        "type": "query",
        "label": "Version",
        "datasource": SOURCE,
        "query": {"query": "label_values(ray_deepicd_window_predictions, version)", "refId": "v"},
        "includeAll": True,
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
    }


if __name__ == "__main__":
    TARGET.write_text(json.dumps(build(), indent=2) + "\n", encoding="utf-8")
    print(TARGET)
