"""What `/v1/monitor` says and how requests fare → Prometheus metrics (Ray adds the prefix `ray_`).

In: the gateway's view of the monitor, and for each request its role, status and seconds. Out:
samples, and the Ray metrics that carry them. Decided here: names and labels of every metric; gauges
show the latest window of the versions that are served now and nothing of the others, so a version
that is gone leaves no stale series behind; no label holds anything a client sent.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepicd.monitoring.monitor import Report
from deepicd.records import Window
from deepicd.serving.protocol import ServedVersion


@dataclass(frozen=True)
class MonitorView:
    """What the gateway knows of its own quality at one moment."""

    status: str
    """Of the prediction log: on, off or blind."""
    served: Sequence[ServedVersion]
    report: Report | None
    """None without a prediction log."""


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
_LATENCY_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


def read_samples(view: MonitorView) -> Iterator[Sample]:
    """Gauges of the monitor's view; numbers that are None are left out."""
    yield Sample("deepicd_monitor_blind", {}, float(view.status == "blind"))
    if view.report is None:
        return
    served: set[tuple[str, str]] = {(answerer.version, answerer.role) for answerer in view.served}
    for window in _latest(view.report.windows, served):
        yield from _of_window(window)
    for drift in view.report.drift:
        if (drift.version, drift.role) in served:
            labels = {"version": drift.version, "role": drift.role, "feature": drift.feature}
            yield Sample("deepicd_drift_psi", labels, drift.psi)
    versions = {version for version, _ in served}
    for alert in view.report.alerts:
        if alert.version in versions:
            labels = {"rule": alert.rule, "severity": alert.severity, "version": alert.version}
            yield Sample("deepicd_alert", labels, float(alert.state == "firing"))


def _of_window(window: Window) -> Iterator[Sample]:
    answerer = {"version": window.version, "role": window.role}
    series: Mapping[tuple[str, str], Mapping[str, float | None]] = {
        ("deepicd_hierarchical_f1", "bound"): {
            "value": window.hierarchical_f1,
            "low": window.low,
            "high": window.high,
        },
        ("deepicd_macro_f1", "level"): {
            "chapter": window.macro_f1_chapter,
            "category": window.macro_f1_category,
            "full": window.macro_f1_full,
        },
        ("deepicd_window_predictions", "kind"): {
            "all": window.num_predictions,
            "labelled": window.num_labelled,
        },
        ("deepicd_share", "kind"): {
            "unparsable": window.share_unparsable,
            "nonexistent": window.share_nonexistent,
        },
        ("deepicd_estimated_accuracy", "bound"): {
            "value": window.estimated_accuracy,
            "low": window.estimated_low,
            "high": window.estimated_high,
        },
    }
    for (metric, label), values in series.items():
        for name, value in values.items():
            if value is not None:
                yield Sample(metric, {**answerer, label: name}, float(value))
    if window.calibration_error is not None:
        yield Sample("deepicd_calibration_error", answerer, window.calibration_error)


def _latest(windows: Iterable[Window], served: set[tuple[str, str]]) -> list[Window]:
    """The latest window of each version and role that is served."""
    latest: dict[tuple[str, str], Window] = {}
    for window in windows:
        key = (window.version, window.role)
        if key in served and (key not in latest or window.end >= latest[key].end):
            latest[key] = window
    return list(latest.values())


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
            boundaries=list(_LATENCY_BUCKETS_S),
            tag_keys=("role",),
        )

    def publish(self, view: MonitorView) -> None:
        """Set every gauge that the view has a number for."""
        for sample in read_samples(view):
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
        # Gauges for counters too: Ray's counter can only add, and vLLM's values are totals.
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
            for sample in family.samples:
                # Buckets would be a series each; `_created` and `_info` are no measurements.
                if not sample.name.endswith(("_bucket", "_created", "_info")):
                    yield Sample(sample.name.replace(":", "_"), sample.labels, float(sample.value))


Observe = Callable[[str, int, float], None]
"""Role of who answered (empty for a refusal), status, seconds."""
