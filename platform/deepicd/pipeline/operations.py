"""The registry's desired state for the reconciler, and what alerts change in the registry.

In: a registry, and the alerts of the prediction log. Out: who should answer; a roll-back or a
withdrawn challenger, in the registry's history with the alert as reason. Decided here: an alert of
severity `rollback` takes a challenger out, and takes the alias from the champion where there is a
former one that has no such alert itself, so that two bad versions do not swap for ever.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from deepicd.errors import DeepICDError
from deepicd.monitoring.alerts import Alert, find_alerts
from deepicd.monitoring.prediction_log import FILE, PredictionLog
from deepicd.promotion.registry import Registry
from deepicd.serving import ServedModel
from deepicd.serving.reconciler import DesiredState

_log = logging.getLogger(__name__)

WATCH_S = 10.0
"""Seconds between two looks at the alerts."""
_REST = 9
"""Pause after a look, at least, in times of what it took."""


class Live:
    """A registry, as `serving.reconciler` follows it; files are verified when a version is new."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._verified: dict[str, ServedModel] = {}

    def desired_state(self) -> DesiredState:
        """Champion and challenger of this moment.

        Raises:
            MissingError: nobody is champion.
            CheckpointError: a version is damaged.
        """
        aliases = self._registry.read_aliases()
        champion = self._model(aliases.champion or self._registry.get("champion").name)
        challenge = aliases.challenge
        if challenge is None or not challenge.is_served:
            return DesiredState(champion)
        return DesiredState(champion, self._model(challenge.version), challenge)

    def withdraw(self, reason: str) -> None:
        """End the challenge."""
        self._registry.withdraw(reason=reason)

    def _model(self, name: str) -> ServedModel:
        if name not in self._verified:
            version = self._registry.verify(name)
            self._verified[name] = ServedModel(path=version.path, version=version.name)
        return self._verified[name]


def watch(
    registry: Registry,
    read_alerts: Callable[[], Sequence[Alert]],
    *,
    stopped: threading.Event,
) -> None:
    """Act on alerts until `stopped` is set; a look that fails is logged, and the next one comes.
    Logs one line per action.
    """
    last, pause_s = "", WATCH_S
    while not stopped.wait(pause_s):
        begun = time.monotonic()
        try:
            line = handle_alerts(registry, read_alerts())
        except DeepICDError as error:
            line = f"alerts are not being acted upon: {error}"
        if line and line != last:
            _log.warning(line)
        last = line or last
        pause_s = max(WATCH_S, _REST * (time.monotonic() - begun))


def handle_alerts(registry: Registry, alerts: Sequence[Alert]) -> str | None:
    """Withdraw the challenger or roll the champion back where an alert asks for it; says what was
    done.
    """
    aliases = registry.read_aliases()
    versions_with_rollback_alert = {
        alert.version: describe(alert) for alert in alerts if _asks_for_rollback(alert)
    }
    challenge = aliases.challenge
    if challenge is not None and challenge.version in versions_with_rollback_alert:
        reason = versions_with_rollback_alert[challenge.version]
        registry.withdraw(reason=reason)
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


def describe(alert: Alert) -> str:
    """An alert as a reason."""
    shown = "" if alert.value is None else f" ({alert.value:.4g})"
    return f"alert {alert.rule} of {alert.version}{shown}; see {alert.runbook}"


def read_alerts_of(log: Path, window: int) -> Callable[[], Sequence[Alert]]:
    """A function that reads the alerts of a prediction log; none before its first prediction."""
    store = PredictionLog(log, window=window)  # one for all looks: it remembers what it computed

    def read() -> Sequence[Alert]:
        if not (log / FILE).is_file():
            return ()
        return find_alerts(store.windows())

    return read
