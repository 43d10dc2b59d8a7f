"""The endpoint while it runs: settings, the registry that it follows, and what alerts change.

In: a registry, and the alerts of the prediction log. Out: an endpoint until it is told to stop; a
roll-back or a withdrawn challenger in the registry's event log, with the alert as reason. Decided
here: the run that the registry lies in, or the champion's run, gives the limits
(`experiment.json`); the prediction log is `monitor` beside the registry, unless named. An alert of
severity `rollback` withdraws a challenger. It takes the alias from the champion only where the
former champion has no such alert itself: otherwise two bad versions would swap for ever.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from deepicd.config import Experiment, load_experiment, read_experiment, with_values
from deepicd.errors import describe_failure
from deepicd.monitoring.alerts import Alert, find_alerts
from deepicd.monitoring.parquet_export import FOLDER, keep_exported, refuse_others
from deepicd.monitoring.prediction_log import FILE, PredictionLog
from deepicd.monitoring.prometheus import SERVICE_DISCOVERY_FILE
from deepicd.paths import RunPaths
from deepicd.pipeline.folder.command import run_of_registry
from deepicd.promotion.registry import Registry
from deepicd.promotion.remote_registry import is_url, open_registry
from deepicd.promotion.versions import CHAMPION
from deepicd.serving import Endpoint, ServedModel, ServingSettings
from deepicd.serving.reconciler import DesiredState

_log = logging.getLogger(__name__)

_LIMITS = {
    "max_prompt_tokens": "data.max_prompt_tokens",
    "overlong": "data.overlong",
    "max_response_tokens": "training.max_response_tokens",
}
_WATCH_S = 10.0
"""Seconds between two looks at the alerts."""
_REST = 9
"""Pause after a look, at least, in times of what it took."""


def serving_settings(
    registry: str, experiment: Path | None, *, log: Path | None, host: str | None, port: int | None
) -> ServingSettings:
    """Settings of the endpoint that follows a registry.

    Args:
        registry: folder or fsspec URL.
        experiment: experiment file with the limits; None takes the run's that the registry lies in,
            else the champion's, else the defaults.
        log: folder of the prediction log; None takes `monitor` beside the registry.
        host: interface instead of the experiment's.
        port: TCP port instead of the experiment's.
    """
    run = run_of_registry(registry)
    values = load_experiment(experiment) if experiment else _values_of(registry, run)
    settings = ServingSettings.of_experiment(values, log=log or run.monitor, host=host, port=port)
    address = registry if is_url(registry) else str(Path(registry).resolve())
    return settings.model_copy(update={"registry": address})


def _values_of(registry: str, run: RunPaths) -> Experiment:
    """The experiment of the run that the registry lies in, else of the champion's run; else the
    defaults with what the champion's lineage says of limits, temperature and profile.
    """
    if run.experiment.is_file():
        return read_experiment(run.experiment)
    store = open_registry(registry)
    champion = store.aliases().get(CHAMPION)
    if champion is None:
        return Experiment()
    origin = store.get(champion).origin
    own = RunPaths(run.root / origin.run).experiment
    if origin.run and own.is_file():
        return read_experiment(own)
    limits = {} if origin.limits is None else asdict(origin.limits)
    values = {_LIMITS[name]: value for name, value in limits.items()}
    # A calibration holds for answers that are drawn at this temperature.
    drawn = {"training.temperature": origin.temperature, "profile": origin.profile or None}
    values |= {name: value for name, value in drawn.items() if value is not None}
    return with_values(Experiment(), values, source=f"lineage of {champion}")


def endpoint_config(settings: ServingSettings) -> str:
    """The endpoint with the registry's champion as YAML of Ray Serve (`serve deploy`)."""
    import yaml

    from deepicd.serving.applications import declare

    champion = _open_served(settings).desired_state().champion
    return str(yaml.safe_dump(declare(champion, settings), sort_keys=False))


def serve(
    settings: ServingSettings,
    *,
    archive: str | None,
    has_auto_rollback: bool,
    may_replace: bool = False,
) -> None:
    """Serve what the registry names until SIGTERM or Ctrl-C.

    Args:
        settings: as `serving_settings` makes them.
        archive: folder or fsspec URL of the prediction log as Parquet; None puts it beside the log.
        has_auto_rollback: whether alerts roll the champion back and withdraw a challenger.
        may_replace: whether files in `archive` that are no export of the log may be replaced.
    """
    from deepicd.serving import endpoint
    from deepicd.serving.reconciler import reconcile

    assert settings.log is not None, "serving_settings names one"
    if archive is not None:
        log = PredictionLog(settings.log)
        refuse_others(log, archive, may_replace=may_replace, option="--archive")
    registry = _open_served(settings)
    model = registry.desired_state().champion
    _log.info("loading %s ...", model.version)
    with endpoint.start(model, settings) as running:
        # Not earlier: until it answers, Ctrl-C must interrupt the start, which then takes
        # everything down.
        stopped = _stop_on_signals()
        _start_log_keepers(settings.log, archive, stopped)
        _log.info("%s answers at %s (Ctrl-C ends it)", running.version, running.url)
        if has_auto_rollback:
            read_alerts = alert_reader(settings.log, settings.config.window)
            _start(watch_alerts, registry.store, read_alerts, stopped=stopped)
        try:
            reconcile(running, registry, stopped=stopped)
        finally:
            stopped.set()  # else the threads would keep a process alive that serves nothing


def wait_for_interrupt(endpoint: Endpoint) -> None:
    """Keep an endpoint up until Ctrl-C."""
    _log.info("%s stays up; Ctrl-C ends it", endpoint.url)
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        _log.info("stopping the endpoint")


def _open_served(settings: ServingSettings) -> "ServedRegistry":
    assert settings.registry is not None, "serving_settings names one"
    return ServedRegistry(open_registry(settings.registry))


def _start_log_keepers(log: Path, archive: str | None, stopped: threading.Event) -> None:
    """Keep beside the prediction log where its metrics are, and the log itself as Parquet."""
    from deepicd.serving.service_discovery import keep_service_discovery

    _start(keep_service_discovery, log / SERVICE_DISCOVERY_FILE, stopped=stopped)
    _start(keep_exported, PredictionLog(log), archive or str(log / FOLDER), stopped=stopped)


def _start(work: Callable[..., None], *arguments: object, stopped: threading.Event) -> None:
    # No daemon: the process must wait for what it does at the end (a last export, a file to
    # remove).
    threading.Thread(target=work, args=arguments, kwargs={"stopped": stopped}).start()


def _stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set; they do nothing else from now on."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    return stopped


class ServedRegistry:
    """A registry as `serving.reconciler` reads it. A version is verified when it is first named."""

    def __init__(self, registry: Registry) -> None:
        self.store = registry
        self._verified: dict[str, ServedModel] = {}

    def desired_state(self) -> DesiredState:
        """Champion and challenger of this moment.

        Raises:
            MissingError: nobody is champion.
            CheckpointError: a version is damaged.
        """
        aliases = self.store.read_aliases()
        # `get` raises the error that says what to do where nobody is champion.
        champion = self._model(aliases.champion or self.store.get("champion").name)
        challenge = aliases.challenge
        if challenge is None or not challenge.is_served:
            return DesiredState(champion)
        return DesiredState(champion, self._model(challenge.version), challenge)

    def withdraw(self, reason: str) -> None:
        """End the challenge."""
        self.store.withdraw(reason=reason)

    def _model(self, name: str) -> ServedModel:
        if name not in self._verified:
            version = self.store.verify(name)
            self._verified[name] = ServedModel(path=version.path, version=version.name)
        return self._verified[name]


def watch_alerts(
    registry: Registry,
    read_alerts: Callable[[], Sequence[Alert]],
    *,
    stopped: threading.Event,
) -> None:
    """Act on alerts until `stopped` is set; a look that fails is logged, and the next one comes.
    Logs one line per action.
    """
    last, pause_s = "", _WATCH_S
    while not stopped.wait(pause_s):
        begun = time.monotonic()
        try:
            line = handle_alerts(registry, read_alerts())
        except Exception as error:
            line = f"alerts are not being acted upon: {describe_failure(error)}"
        if line and line != last:
            _log.warning(line)
        # Kept over looks with nothing to tell: the same failure is told once.
        last = line or last
        # A look takes longer with every prediction; it must not take more than a tenth of a core.
        pause_s = max(_WATCH_S, _REST * (time.monotonic() - begun))


def handle_alerts(registry: Registry, alerts: Sequence[Alert]) -> str | None:
    """Withdraw the challenger or roll the champion back where an alert asks for it; says what was
    done.
    """
    aliases = registry.read_aliases()
    versions_with_rollback_alert = {
        alert.version: _describe(alert) for alert in alerts if _asks_for_rollback(alert)
    }
    challenge = aliases.challenge
    if challenge is not None and challenge.version in versions_with_rollback_alert:
        reason = versions_with_rollback_alert[challenge.version]
        registry.withdraw(reason=reason)
        # One action a look: an alert of the champion is handled at the next one.
        return f"{challenge.version} was withdrawn: {reason}"
    if aliases.champion not in versions_with_rollback_alert:
        return None
    if aliases.former is None or aliases.former in versions_with_rollback_alert:
        return None
    reason = versions_with_rollback_alert[aliases.champion]
    event = registry.rollback(reason=reason)
    return f"{event.version} is champion again: {reason}"


def _asks_for_rollback(alert: Alert) -> bool:
    return alert.severity == "rollback" and alert.state == "firing"


def _describe(alert: Alert) -> str:
    """An alert as a reason."""
    shown = "" if alert.value is None else f" ({alert.value:.4g})"
    return f"alert {alert.rule} of {alert.version}{shown}; see {alert.runbook}"


def alert_reader(log: Path, window: int) -> Callable[[], Sequence[Alert]]:
    """A function that reads the alerts of a prediction log; none before its first prediction."""
    store = PredictionLog(log, window=window)  # one for all looks: it remembers what it computed

    def read() -> Sequence[Alert]:
        if not (log / FILE).is_file():
            return ()
        return find_alerts(store.windows())

    return read
