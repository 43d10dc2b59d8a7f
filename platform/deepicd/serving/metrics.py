"""What `/v1/monitor` says and how requests fare → Prometheus metrics (Ray adds the prefix `ray_`).

In: the gateway's monitor report, and for each request its role, status and seconds. Out: samples,
and the Ray metrics that carry them. Decided here: names and labels of every metric; gauges show the
latest window of the versions that are served now and nothing of the others, so a version that is
gone leaves no stale series behind; no label holds anything a client sent.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Report = Mapping[str, Any]


@dataclass(frozen=True)
class Sample:
    """One value of one metric."""

    metric: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Metric:
    """A metric's help text and the names of its labels."""

    description: str
    labels: tuple[str, ...]


_ANSWERER = ("version", "role")
GAUGES: Mapping[str, Metric] = {
    "deepicd_hierarchical_f1": Metric(
        "Hierarchical F1 of the latest window; bound is value, low or high.",
        (*_ANSWERER, "bound"),
    ),
    "deepicd_macro_f1": Metric(
        "Macro-F1 of the latest window; level is chapter, category or full.",
        (*_ANSWERER, "level"),
    ),
    "deepicd_window_predictions": Metric(
        "Predictions in the latest window; kind is all or labelled.", (*_ANSWERER, "kind")
    ),
    "deepicd_share": Metric(
        "Share of the answers of the latest window; kind is unparsable or nonexistent.",
        (*_ANSWERER, "kind"),
    ),
    "deepicd_calibration_error": Metric(
        "Expected calibration error of the latest window.", _ANSWERER
    ),
    "deepicd_estimated_accuracy": Metric(
        "Share of right chapters that calibrated confidences promise for the latest window, labels "
        "or not; bound is value, low or high.",
        (*_ANSWERER, "bound"),
    ),
    "deepicd_drift_psi": Metric(
        "Population stability index of a feature against the version's first predictions.",
        ("version", "role", "feature"),
    ),
    "deepicd_alert": Metric("1 while an alert fires.", ("rule", "severity", "version")),
    "deepicd_monitor_blind": Metric("1 while predictions cannot be kept.", ()),
}
REQUESTS = "deepicd_requests_total"
LATENCY = "deepicd_latency_seconds"
LATENCY_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


def read_samples(report: Report) -> Iterator[Sample]:
    """Gauges of a monitor report; numbers that are null are left out."""
    yield Sample("deepicd_monitor_blind", {}, float(report.get("status") == "blind"))
    served = {(row["version"], row["role"]) for row in report.get("served", ())}
    versions = {version for version, _ in served}
    for window in _latest(report.get("windows", ()), served):
        yield from _of_window(window)
    for row in report.get("drift", ()):
        if (row["version"], row["role"]) in served:
            labels = {**_answerer(row), "feature": row["feature"]}
            yield Sample("deepicd_drift_psi", labels, row["psi"])
    for row in report.get("alarms", ()):
        if row["version"] in versions | {None}:
            labels = {name: str(row[name] or "") for name in ("rule", "severity", "version")}
            yield Sample("deepicd_alert", labels, float(row["state"] == "firing"))


def _of_window(window: Report) -> Iterator[Sample]:
    who = _answerer(window)
    scores = {"value": "hierarchical_f1", "low": "low", "high": "high"}
    f1 = {bound: window.get(name) for bound, name in scores.items()}
    yield from _spread("deepicd_hierarchical_f1", who, "bound", values=f1)
    levels = {level: window.get(f"macro_f1_{level}") for level in ("chapter", "category", "full")}
    yield from _spread("deepicd_macro_f1", who, "level", values=levels)
    counts = {"all": window["num_predictions"], "labelled": window["num_labelled"]}
    yield from _spread("deepicd_window_predictions", who, "kind", values=counts)
    shares = {kind: window.get(f"share_{kind}") for kind in ("unparsable", "nonexistent")}
    yield from _spread("deepicd_share", who, "kind", values=shares)
    bounds = {"value": "estimated_accuracy", "low": "estimated_low", "high": "estimated_high"}
    promised = {bound: window.get(name) for bound, name in bounds.items()}
    yield from _spread("deepicd_estimated_accuracy", who, "bound", values=promised)
    if (error := window.get("calibration_error")) is not None:
        yield Sample("deepicd_calibration_error", who, float(error))


def _spread(
    metric: str, who: Mapping[str, str], label: str, *, values: Mapping[str, float | None]
) -> Iterator[Sample]:
    for name, value in values.items():
        if value is not None:
            yield Sample(metric, {**who, label: name}, float(value))


def _answerer(row: Report) -> dict[str, str]:
    return {"version": row["version"], "role": row["role"]}


def _latest(rows: Any, served: set[tuple[str, str]]) -> list[Report]:
    found: dict[tuple[str, str], Report] = {}
    for row in rows:
        key = (row["version"], row["role"])
        if key in served and (key not in found or row["end"] >= found[key]["end"]):
            found[key] = row
    return list(found.values())


class RayMetrics:
    """The metrics of one gateway, in Ray's metrics agent."""

    def __init__(self) -> None:
        from ray.serve.metrics import Counter, Gauge, Histogram

        self._gauges = {
            name: Gauge(name, description=metric.description, tag_keys=metric.labels)
            for name, metric in GAUGES.items()
        }
        self._requests = Counter(
            REQUESTS.removesuffix("_total"),  # Ray adds it
            description="Requests by the role of who answered and the reply's status.",
            tag_keys=("role", "status"),
        )
        self._latency = Histogram(
            LATENCY,
            description="Seconds from a request to the end of its reply.",
            boundaries=list(LATENCY_BUCKETS_S),
            tag_keys=("role",),
        )

    def publish(self, report: Report) -> None:
        """Set every gauge that the report has a number for."""
        for sample in read_samples(report):
            self._gauges[sample.metric].set(sample.value, tags=dict(sample.labels))

    def observe(self, role: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.inc(1, tags={"role": role, "status": str(status)})
        self._latency.observe(seconds, tags={"role": role})


class VllmMetrics:
    """vLLM's own series of one engine, copied to Ray's metrics agent now and then.

    vLLM has a logger that writes to Ray at every step of the engine, some sixty series at a time;
    that took a fifth of the tokens per second of a small model. Its ordinary one costs next to
    nothing. Counters and gauges are copied, and sum and count of histograms.
    """

    def __init__(self) -> None:
        self._gauges: dict[str, Any] = {}

    def publish(self) -> None:
        """Copy the present values."""
        from prometheus_client import REGISTRY
        from ray.serve.metrics import Gauge

        for sample in read_vllm_samples(REGISTRY.collect()):
            if sample.metric not in self._gauges:
                self._gauges[sample.metric] = Gauge(
                    sample.metric, description="vLLM's own.", tag_keys=tuple(sample.labels)
                )
            self._gauges[sample.metric].set(sample.value, tags=dict(sample.labels))


def read_vllm_samples(families: Iterable[Any]) -> Iterator[Sample]:
    """vLLM's samples among those of prometheus_client, under names that Ray accepts."""
    for family in families:
        if family.name.startswith("vllm:"):
            for one in family.samples:
                if not one.name.endswith(("_bucket", "_created", "_info")):
                    yield Sample(one.name.replace(":", "_"), one.labels, float(one.value))


Observe = Callable[[str, int, float], None]
"""Role of who answered (empty for a refusal), status, seconds."""
