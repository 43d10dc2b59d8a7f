"""Who answers which request, the report as metrics, and the reconciler."""

import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd.errors import CapacityError, MissingError, ServingError
from deepicd.monitoring.alerts import Alert
from deepicd.monitoring.drift import Drift
from deepicd.monitoring.monitor import Report
from deepicd.pipeline.operations import handle_alerts
from deepicd.promotion.versions import Aliases
from deepicd.records import Challenge, Window
from deepicd.serving import capacity
from deepicd.serving.metrics import GAUGES, MonitorView, Sample, read_samples
from deepicd.serving.protocol import ServedVersion
from deepicd.serving.reconciler import DesiredState, reconcile
from deepicd.serving.routing import Backend, TrafficSplit, place_of, request_id_of
from deepicd.serving.settings import ServedModel, ServingSettings

FIRST, SECOND = Backend(app="a1", version="v1"), Backend(app="a2", version="v2")


def split(percent: float, *, num: int = 4000) -> Counter[str]:
    traffic = TrafficSplit(champion=FIRST, challenger=SECOND, percent=percent)
    return Counter(traffic.choose(f"request-{i}")[1] for i in range(num))


def test_a_canary_gets_its_share_and_an_end_of_the_scale_gets_all_or_nothing() -> None:
    assert split(0) == {"champion": 4000} and split(100) == {"canary": 4000}
    assert 320 < split(10)["canary"] < 480  # 400 expected, 4 standard deviations


@given(st.text(), st.floats(0, 100), st.floats(0, 100))
def test_an_id_keeps_its_version_and_a_raised_share_takes_no_id_back(
    name: str, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    roles = [
        TrafficSplit(champion=FIRST, challenger=SECOND, percent=share).choose(name)[1]
        for share in (low, low, high)
    ]
    assert roles[0] == roles[1] and (roles[0] == "champion" or roles[2] == "canary")
    assert 0 <= place_of(name) < 100


def test_only_a_plain_identifier_is_taken_from_a_client() -> None:
    assert request_id_of({"x-request-id": "a.b:c@1"}) == "a.b:c@1"
    made = {request_id_of({"x-request-id": odd}) for odd in ("", "two words", "x" * 129)}
    assert len(made) == 3 and all(len(name) == 32 for name in made)


def test_a_traffic_split_says_who_is_served_as_what() -> None:
    both = TrafficSplit(champion=FIRST, challenger=SECOND, percent=25, is_shadow=True)
    assert both.describe() == [
        ServedVersion("v1", "champion", 75.0),
        ServedVersion("v2", "canary", 25.0),
        ServedVersion("v2", "shadow", 0.0),
    ]
    assert both.shadow == SECOND and TrafficSplit(champion=FIRST).shadow is None
    assert TrafficSplit(champion=FIRST, percent=25).describe()[0].percent == 100.0


def window(version: str, end: float, f1: float | None) -> Window:
    return Window(
        version=version,
        start=0.0,
        end=end,
        num_predictions=5,
        num_labelled=2,
        hierarchical_f1=f1,
        low=None,
        high=0.75,
        macro_f1_chapter=None,
        macro_f1_category=0.5,
        macro_f1_full=None,
        share_unparsable=0.2,
        calibration_error=0.1,
        estimated_accuracy=0.6,
    )


def alert(version: str, severity: str = "rollback", state: str = "firing") -> Alert:
    return Alert(
        rule="low",
        severity=severity,  # type: ignore[arg-type]
        version=version,
        role="champion",
        value=0.25,
        state=state,  # type: ignore[arg-type]
        since=0.0,
        runbook="docs/runbooks/low.md",
    )


def test_gauges_show_the_latest_window_of_who_is_served_and_nothing_else() -> None:
    report = Report(
        counts={},
        overall=(),
        windows=[window("v1", 9.0, 0.9), window("v2", 2.0, 0.4), window("v2", 1.0, 0.3)],
        pairs=(),
        drift=[
            Drift("v2", "champion", "chapter", 0.3, 0.01, True),
            Drift("v1", "champion", "chapter", 0.9, 0.01, True),
        ],
        subgroups=(),
        alerts=[alert("v2", "page"), alert("v1", "warn")],
    )
    view = MonitorView("blind", [ServedVersion("v2", "champion", 100.0)], report)
    samples = {(s.metric, *s.labels.values()): s.value for s in read_samples(view)}
    assert samples == {
        ("deepicd_monitor_blind",): 1.0,
        ("deepicd_hierarchical_f1", "v2", "champion", "value"): 0.4,
        ("deepicd_hierarchical_f1", "v2", "champion", "high"): 0.75,
        ("deepicd_macro_f1", "v2", "champion", "category"): 0.5,
        ("deepicd_window_predictions", "v2", "champion", "all"): 5.0,
        ("deepicd_window_predictions", "v2", "champion", "labelled"): 2.0,
        ("deepicd_share", "v2", "champion", "unparsable"): 0.2,
        ("deepicd_share", "v2", "champion", "nonexistent"): 0.0,
        ("deepicd_calibration_error", "v2", "champion"): 0.1,
        ("deepicd_estimated_accuracy", "v2", "champion", "value"): 0.6,
        ("deepicd_drift_psi", "v2", "champion", "chapter"): 0.3,
        ("deepicd_alert", "low", "page", "v2"): 1.0,
    }
    for sample in read_samples(view):
        assert tuple(sample.labels) == GAUGES[sample.metric].labels


def test_without_a_log_only_its_state_is_a_gauge() -> None:
    view = MonitorView("off", [ServedVersion("v2", "champion", 100.0)], None)
    assert list(read_samples(view)) == [Sample("deepicd_monitor_blind", {}, 0.0)]


class Endpoint:
    """The part of an endpoint that `reconcile` uses."""

    def __init__(self, broken: str) -> None:
        self.version, self.url, self.broken = "v1", "http://test", broken
        self.tried: list[tuple[str, str | None, float]] = []
        self.how = "beside"

    def deploy(self, champion, challenger=None, *, percent=0.0, is_shadow=False) -> None:
        other = challenger and challenger.version
        self.tried.append((champion.version, other, percent))
        if self.broken in (champion.version, other):
            raise ServingError("cannot be loaded")
        self.version = champion.version


class NamingRegistry:
    """A registry that names one after another."""

    def __init__(self, stopped: threading.Event, *aliases: tuple[str, str | None, float]) -> None:
        self.left, self.stopped = list(aliases), stopped
        self.withdrawn: list[str] = []

    def desired_state(self) -> DesiredState:
        if not self.left:
            self.stopped.set()
            raise MissingError("the end")
        champion, other, percent = self.left.pop(0)
        if other is None:
            return DesiredState(model(champion))
        return DesiredState(model(champion), model(other), Challenge(other, percent))

    def withdraw(self, reason: str) -> None:
        self.withdrawn.append(reason)


def model(version: str) -> ServedModel:
    return ServedModel(path=Path("x"), version=version)


def run(monkeypatch: pytest.MonkeyPatch, *aliases: tuple[str, str | None, float]):
    monkeypatch.setattr("deepicd.serving.reconciler.PERIOD_S", 0.0)
    endpoint, stopped = Endpoint("bad"), threading.Event()
    registry = NamingRegistry(stopped, *aliases)
    reconcile(endpoint, registry, stopped=stopped)  # type: ignore[arg-type]
    return endpoint, registry


def test_a_new_champion_is_deployed_and_a_broken_one_is_tried_once(monkeypatch, log_lines) -> None:
    names = ["v1", "v2", "v2", "bad", "bad", "v1"]
    endpoint, registry = run(monkeypatch, *((name, None, 0.0) for name in names))
    assert [tried[0] for tried in endpoint.tried] == ["v2", "bad", "v1"]
    assert endpoint.version == "v1" and registry.withdrawn == []
    assert "v2 goes on answering: cannot be loaded" in log_lines


def test_whatever_the_registry_raises_is_said_once_and_the_next_look_comes(
    monkeypatch, log_lines
) -> None:
    class Failing(NamingRegistry):
        def desired_state(self) -> DesiredState:
            if self.left and isinstance(self.left[0], Exception):
                raise self.left.pop(0)
            return super().desired_state()

    monkeypatch.setattr("deepicd.serving.reconciler.PERIOD_S", 0.0)
    endpoint, stopped = Endpoint("bad"), threading.Event()
    odd = UnicodeDecodeError("utf-8", b"planted", 0, 1, "odd")
    failures = [OSError(5, "Input/output error"), OSError(5, "Input/output error"), odd]
    registry = Failing(stopped, *failures, ("v2", None, 0.0))  # type: ignore[arg-type]
    reconcile(endpoint, registry, stopped=stopped)  # type: ignore[arg-type]
    assert endpoint.version == "v2"
    assert log_lines[:2] == [
        "v1 goes on answering: OSError (Input/output error)",
        "v1 goes on answering: UnicodeDecodeError",
    ]
    assert "planted" not in str(log_lines)


def test_a_challenger_is_tried_changed_and_withdrawn_when_it_cannot_be_served(
    monkeypatch, log_lines
) -> None:
    endpoint, registry = run(
        monkeypatch, ("v1", "v2", 10.0), ("v1", "v2", 50.0), ("v2", None, 0.0), ("v2", "bad", 5.0)
    )
    assert endpoint.tried == [
        ("v1", "v2", 10.0), ("v1", "v2", 50.0), ("v2", None, 0.0), ("v2", "bad", 5.0),
    ]  # fmt: skip
    assert registry.withdrawn == ["could not be served: cannot be loaded"]
    assert "v1, with v2 as canary 10% answers at http://test" in log_lines


class Registry:
    """Aliases, and what was done to them."""

    def __init__(self, aliases: Aliases) -> None:
        self.aliases, self.done = aliases, ""

    def read_aliases(self) -> Aliases:
        return self.aliases

    def withdraw(self, *, reason: str) -> None:
        self.done = f"withdrawn: {reason}"

    def rollback(self, *, reason: str) -> Challenge:
        self.done = f"rolled back: {reason}"
        return Challenge(self.aliases.former or "")


@pytest.mark.parametrize(
    ("alerts", "done"),
    [
        ([alert("v2")], "rolled back: alert low of v2 (0.25); see docs/runbooks/low.md"),
        ([alert("v2"), alert("v1")], ""),  # the former champion is no better
        ([alert("v3"), alert("v2")], "withdrawn: alert low of v3 (0.25); see docs/runbooks/low.md"),
        ([alert("v2", "page"), alert("v2", state="pending")], ""),
        ([], ""),
    ],
)
def test_an_alert_takes_the_alias_or_ends_the_challenge(alerts, done: str) -> None:
    registry = Registry(Aliases("v2", "v1", Challenge("v3", 10.0)))
    handle_alerts(registry, alerts)  # type: ignore[arg-type]
    assert registry.done == done


def test_the_first_champion_stays_whatever_the_alert() -> None:
    registry = Registry(Aliases("v1", None, None))
    assert handle_alerts(registry, [alert("v1")]) is None and registry.done == ""  # type: ignore[arg-type]


def test_an_engine_needs_weights_cache_and_two_processes(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x" * 1000)
    served, settings = ServedModel(path=tmp_path, version="v1"), ServingSettings()
    need = 1000 + (512 << 20) + (2 << 30)
    assert capacity.engine_bytes(served, settings) == need
    monkeypatch.setattr(capacity, "free_bytes", lambda: need)
    assert capacity.has_capacity(served, settings)
    monkeypatch.setattr(capacity, "free_bytes", lambda: need - 1)
    assert not capacity.has_capacity(served, settings)
    with pytest.raises(CapacityError, match=r"v1 needs 2\.5 GiB"):
        capacity.check_capacity(served, settings)
