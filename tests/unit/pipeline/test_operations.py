"""The endpoint's settings, the registry that it follows, and what alerts change."""

import threading
from pathlib import Path

import pytest
import yaml
from registry_models import build_model

from deepicd.config import dump_experiment, parse_experiment
from deepicd.errors import MissingError, PromotionError
from deepicd.monitoring.alerts import Alert
from deepicd.paths import RunPaths
from deepicd.pipeline import operations
from deepicd.promotion.lineage import Lineage
from deepicd.promotion.registry import Registry
from deepicd.promotion.versions import Aliases
from deepicd.records import Challenge, Limits

TABLE = {"serving": {"port": 8123, "window": 50}, "training": {"temperature": 0.5}}


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    """A run with an experiment of its own and an empty registry."""
    paths = RunPaths(tmp_path / "run")
    (paths.root / "registry").mkdir(parents=True)
    dump_experiment(parse_experiment(TABLE, "here"), paths.experiment)
    return paths


def settings_of(registry: Path | str, experiment: Path | None = None, **changes: object):
    options = {"log": None, "host": None, "port": None, **changes}
    return operations.serving_settings(str(registry), experiment, **options)  # type: ignore[arg-type]


def test_the_run_of_the_registry_gives_limits_and_log(run: RunPaths) -> None:
    settings = settings_of(run.root / "registry")
    assert settings.config.port == 8123 and settings.config.window == 50
    assert settings.temperature == 0.5 and settings.log == run.monitor
    assert settings.registry == str(run.root / "registry")


def test_options_replace_what_the_run_says(run: RunPaths, tmp_path: Path) -> None:
    settings = settings_of(run.root / "registry", log=tmp_path / "log", host="127.0.0.2", port=9)
    assert (settings.log, settings.config.host, settings.config.port) == (
        tmp_path / "log", "127.0.0.2", 9,
    )  # fmt: skip
    other = tmp_path / "other.toml"
    other.write_text("[training]\ntemperature = 0.25\n")
    assert settings_of(run.root / "registry", other).temperature == 0.25


def test_a_registry_in_no_run_is_served_by_the_defaults(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "elsewhere" / "registry")
    assert settings.config == parse_experiment({}, "here").serving
    remote = settings_of("memory://bucket/registry")
    assert remote.registry == "memory://bucket/registry"


@pytest.mark.parametrize("is_here", [True, False])
def test_a_shared_registry_is_served_by_what_its_champion_was_made_with(
    tmp_path: Path, is_here: bool
) -> None:
    made = Lineage(run="first", limits=Limits(96, 24, "filter"), temperature=0.75, profile="gpu")
    registry = Registry(tmp_path / "registry")
    registry.register(build_model(tmp_path / "model", 1), lineage=made.as_dict())
    registry.promote("v0001", reason="test")
    if is_here:
        table = {"data": {"max_prompt_tokens": 64}, "training": {"temperature": 0.5}}
        dump_experiment(parse_experiment(table, "here"), RunPaths(tmp_path / "first").experiment)
    settings = settings_of(registry.root)
    wanted = (Limits(64, 1024), 0.5) if is_here else (Limits(96, 24, "filter"), 0.75)
    assert (settings.limits, settings.temperature) == wanted
    assert (settings.engine.max_num_seqs == 256) is not is_here  # of the GPU profile


def test_nothing_is_served_where_nobody_is_champion(run: RunPaths) -> None:
    settings = settings_of(run.root / "registry")
    with pytest.raises(MissingError, match="no version is champion"):
        operations.endpoint_config(settings)
    with pytest.raises(MissingError, match="no version is champion"):
        operations.serve(settings, archive=None, has_auto_rollback=True)


class Version:
    def __init__(self, name: str) -> None:
        self.name, self.path = name, Path("models") / name


class Store:
    """A registry that counts how often a version is verified."""

    def __init__(self, aliases: Aliases) -> None:
        self.aliases, self.verified, self.done = aliases, [], []
        self.is_blocked = False

    def read_aliases(self) -> Aliases:
        return self.aliases

    def verify(self, name: str) -> Version:
        self.verified.append(name)
        return Version(name)

    def withdraw(self, *, reason: str) -> None:
        self.done.append(f"withdrawn: {reason}")

    def rollback(self, *, reason: str) -> Challenge:
        if self.is_blocked:
            raise PromotionError("somebody else changed it")
        self.done.append(f"rolled back: {reason}")
        return Challenge(self.aliases.former or "")


def test_a_version_is_verified_when_it_is_first_named() -> None:
    store = Store(Aliases("v2", "v1", Challenge("v3", 10.0)))
    served = operations.ServedRegistry(store)  # type: ignore[arg-type]
    for _ in range(3):
        state = served.desired_state()
    assert (state.champion.version, state.challenger and state.challenger.version) == ("v2", "v3")
    assert store.verified == ["v2", "v3"]
    store.aliases = Aliases("v1", None, None)
    assert served.desired_state().champion.version == "v1" and store.verified[2:] == ["v1"]


def test_a_challenger_that_answers_nobody_is_not_loaded() -> None:
    store = Store(Aliases("v2", None, Challenge("v3", 0.0, is_shadow=False)))
    state = operations.ServedRegistry(store).desired_state()  # type: ignore[arg-type]
    assert state.challenger is None and store.verified == ["v2"]


def alert(version: str) -> Alert:
    return Alert(
        rule="low", severity="rollback", state="firing", version=version, value=0.25,
        since=0.0, role="champion", runbook="docs/runbooks/low.md",
    )  # fmt: skip


def test_alerts_are_acted_upon_and_logged_until_the_end(monkeypatch, log_lines) -> None:
    monkeypatch.setattr(operations, "_WATCH_S", 0.001)
    store, stopped, num_looks = Store(Aliases("v2", "v1", None)), threading.Event(), [0]

    def read_alerts() -> list[Alert]:
        num_looks[0] += 1
        store.is_blocked = num_looks[0] == 1
        if num_looks[0] == 3:
            store.aliases = Aliases("v1", None, None)
        if num_looks[0] > 3:
            stopped.set()
        return [alert("v2")]

    operations.watch_alerts(store, read_alerts, stopped=stopped)  # type: ignore[arg-type]
    assert store.done == ["rolled back: alert low of v2 (0.25); see docs/runbooks/low.md"]
    assert log_lines == [
        "alerts are not being acted upon: somebody else changed it",
        "v1 is champion again: alert low of v2 (0.25); see docs/runbooks/low.md",
    ]


def test_a_failing_disk_does_not_end_the_watch_of_alerts(monkeypatch, log_lines) -> None:
    monkeypatch.setattr(operations, "_WATCH_S", 0.001)
    stopped, looks = threading.Event(), []

    def read_alerts() -> list[Alert]:
        looks.append(1)
        if len(looks) == 3:
            stopped.set()
        raise OSError(28, "No space left on device")

    store = Store(Aliases("v2", "v1", None))
    operations.watch_alerts(store, read_alerts, stopped=stopped)  # type: ignore[arg-type]
    assert len(looks) == 3
    assert log_lines == [
        "alerts are not being acted upon: OSError (No space left on device)",
    ]


def test_a_log_without_a_prediction_has_no_alerts(tmp_path: Path) -> None:
    read = operations.alert_reader(tmp_path / "monitor", 50)
    assert read() == ()


def test_the_configuration_for_serve_deploy_is_yaml(run: RunPaths, monkeypatch) -> None:
    monkeypatch.setattr(operations, "open_registry", lambda _: Store(Aliases("v2", None, None)))
    monkeypatch.delenv("DEEPICD_TOKEN", raising=False)
    table = yaml.safe_load(operations.endpoint_config(settings_of(run.root / "registry")))
    assert "applications" in table and "v2" in str(table)
