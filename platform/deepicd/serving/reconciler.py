"""Keep the endpoint on whoever the registry names, for as long as it runs.

In: an endpoint and a function that names champion and challenger. Out: nothing; returns when told
to stop. Decided here: they are asked for again and again (a registry is a folder, it cannot call);
a champion that cannot be loaded is reported once and the present version goes on answering; a
challenger that cannot be loaded is withdrawn.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from deepicd.errors import DeepICDError
from deepicd.records import Challenge
from deepicd.serving.endpoint import Endpoint
from deepicd.serving.settings import ServedModel

PERIOD_S = 1.0
"""Seconds between two looks at the registry."""


@dataclass(frozen=True)
class Wanted:
    """Who should answer."""

    champion: ServedModel
    challenger: ServedModel | None = None
    challenge: Challenge | None = None
    """How the challenger is tried; None without one."""

    def describe(self) -> str:
        """In a few words."""
        text = self.champion.version
        if self.challenge is None:
            return text
        share = f"canary {self.challenge.percent:g}%" if self.challenge.percent else ""
        ways = " and ".join(filter(None, [share, "shadow" if self.challenge.is_shadow else ""]))
        return f"{text}, with {self.challenge.version} as {ways}"


class Registry(Protocol):
    """What is followed."""

    def wanted(self) -> Wanted:
        """Who should answer now."""

    def withdraw(self, reason: str) -> None:
        """End the challenge of a version that cannot be tried."""


def follow(
    endpoint: Endpoint,
    registry: Registry,
    *,
    stopped: threading.Event,
    report: Callable[[str], None],
) -> None:
    """Deploy whoever is wanted until `stopped` is set; `report` receives one line per change."""
    seen: tuple[str, Challenge | None] = (endpoint.version, None)
    while not stopped.wait(PERIOD_S):
        try:
            wanted = registry.wanted()
        except DeepICDError as error:
            report(f"{endpoint.version} goes on answering: {error}")
            continue
        key = (wanted.champion.version, wanted.challenge)
        if key == seen:
            continue
        seen = key
        change(endpoint, registry, wanted, report=report)


def change(
    endpoint: Endpoint, registry: Registry, wanted: Wanted, *, report: Callable[[str], None]
) -> None:
    """Deploy once; a failure is reported, and is the challenger's where the champion stands."""
    report(f"wanted: {wanted.describe()}; {endpoint.version} answers meanwhile")
    challenge = wanted.challenge or Challenge("")
    is_new = wanted.champion.version != endpoint.version
    try:
        endpoint.deploy(
            wanted.champion,
            wanted.challenger,
            percent=challenge.percent,
            is_shadow=challenge.is_shadow,
        )
    except DeepICDError as error:
        report(f"{endpoint.version} goes on answering: {error}")
        if wanted.challenger is not None and not is_new:
            registry.withdraw(f"could not be served: {error}")
    else:
        how = " (its weights were swapped in place)" if endpoint.how == "in place" else ""
        report(f"{wanted.describe()} answers at {endpoint.url}{how}")
