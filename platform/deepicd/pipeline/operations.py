"""The registry as an endpoint follows it, and what alarms make of it.

In: a registry, and the alarms of the prediction log. Out: who should answer; a roll-back or a
withdrawn challenger, in the registry's history with the alarm as reason. Decided here: an alarm of
severity `rollback` takes a challenger out, and takes the title from the champion where there is a
former one that has no such alarm itself, so that two bad versions do not swap for ever.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepicd.errors import DeepICDError
from deepicd.promotion.registry import Registry, Titles
from deepicd.serving import ServedModel
from deepicd.serving.reconciler import Wanted

WATCH_S = 10.0
"""Seconds between two looks at the alarms."""
_REST = 9
"""Pause after a look, at least, in times of what it took."""

Alarm = Mapping[str, Any]


class Live:
    """A registry, as `serving.follow` follows it; files are verified when a version is new."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._verified: dict[str, ServedModel] = {}

    def wanted(self) -> Wanted:
        """Champion and challenger of this moment.

        Raises:
            MissingError: nobody is champion.
            CheckpointError: a version is damaged.
        """
        titles = self._registry.read_titles()
        champion = self._model(titles.champion or self._registry.get("champion").name)
        challenge = titles.challenge
        if challenge is None or not challenge.is_served:
            return Wanted(champion)
        return Wanted(champion, self._model(challenge.version), challenge)

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
    read_alarms: Callable[[], Sequence[Alarm]],
    *,
    stopped: threading.Event,
    report: Callable[[str], None],
) -> None:
    """Act on alarms until `stopped` is set; a look that fails is reported, and the next one comes.
    `report` receives one line per action.
    """
    last, pause_s = "", WATCH_S
    while not stopped.wait(pause_s):
        begun = time.monotonic()
        try:
            line = act(registry, read_alarms())
        except DeepICDError as error:
            line = f"alarms are not being acted upon: {error}"
        if line and line != last:
            report(line)
        last = line or last
        pause_s = max(WATCH_S, _REST * (time.monotonic() - begun))


def act(registry: Registry, alarms: Sequence[Alarm]) -> str | None:
    """Withdraw the challenger or roll the champion back where an alarm asks for it; says what was
    done.
    """
    titles = registry.read_titles()
    accused = {alarm["version"]: alarm for alarm in alarms if _asks_for_rollback(alarm)}
    if titles.challenge is not None and titles.challenge.version in accused:
        reason = describe(accused[titles.challenge.version])
        registry.withdraw(reason=reason)
        return f"{titles.challenge.version} was withdrawn: {reason}"
    if titles.champion in accused and _may_return(titles, accused):
        reason = describe(accused[titles.champion])
        event = registry.rollback(reason=reason)
        return f"{event.version} is champion again: {reason}"
    return None


def _asks_for_rollback(alarm: Alarm) -> bool:
    return bool(alarm["severity"] == "rollback" and alarm["state"] == "firing")


def _may_return(titles: Titles, accused: Mapping[str, Alarm]) -> bool:
    return titles.former is not None and titles.former not in accused


def describe(alarm: Alarm) -> str:
    """An alarm as a reason."""
    value = alarm.get("value")
    shown = "" if value is None else f" ({value:.4g})"
    return f"alarm {alarm['rule']} of {alarm['version']}{shown}; see {alarm['runbook']}"


def read_alarms_of(log: Path, window: int) -> Callable[[], Sequence[Alarm]]:
    """A function that reads the alarms of a prediction log; none before its first prediction."""
    from deepicd.monitoring.alerts import find_alarms
    from deepicd.monitoring.prediction_log import FILE, PredictionLog

    store = PredictionLog(log, window=window)  # one for all looks: it remembers what it computed

    def read() -> Sequence[Alarm]:
        if not (log / FILE).is_file():
            return ()
        return [asdict(alarm) for alarm in find_alarms(store.windows())]

    return read
