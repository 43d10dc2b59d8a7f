"""Bring the running endpoint to the state that the registry asks for, again and again.

In: an endpoint, and a registry that names champion and challenger. Out: an endpoint that serves
them; returns when told to stop. Decided here: the registry is read every `PERIOD_S` seconds,
because it is a folder and sends no events; a desired state is applied once, whether it works or
not. A champion that cannot be loaded is reported and the present version goes on answering; a
challenger that cannot be loaded is withdrawn.
"""

import logging
import threading
from dataclasses import dataclass
from typing import Protocol

from deepicd.errors import describe_failure
from deepicd.records import Challenge
from deepicd.serving.endpoint import Endpoint
from deepicd.serving.settings import ServedModel

_log = logging.getLogger(__name__)

PERIOD_S = 1.0
"""Seconds between two looks at the registry."""


@dataclass(frozen=True)
class DesiredState:
    """Which versions the endpoint should serve, and how."""

    champion: ServedModel
    challenger: ServedModel | None = None
    challenge: Challenge | None = None
    """How the challenger is tried; None without one."""

    def describe(self) -> str:
        """One line for the operator, for example `v2, with v3 as canary 10%`."""
        text = self.champion.version
        if self.challenge is None:
            return text
        share = f"canary {self.challenge.percent:g}%" if self.challenge.percent else ""
        ways = " and ".join(filter(None, [share, "shadow" if self.challenge.is_shadow else ""]))
        return f"{text}, with {self.challenge.version} as {ways}"


class Registry(Protocol):
    """What the reconciler needs of a registry."""

    def desired_state(self) -> DesiredState:
        """Which versions should be served now."""

    def withdraw(self, reason: str) -> None:
        """End the challenge of a version that cannot be tried."""


def reconcile(endpoint: Endpoint, registry: Registry, *, stopped: threading.Event) -> None:
    """Apply every new desired state until `stopped` is set; logs one line per change."""
    seen: tuple[str, Challenge | None] = (endpoint.version, None)
    complaint = ""
    while not stopped.wait(PERIOD_S):
        try:
            desired = registry.desired_state()
        # Everything: a full disk or an odd byte must not end the loop while the process lives on.
        except Exception as error:
            if (line := describe_failure(error)) != complaint:
                _log.warning(f"{endpoint.version} goes on answering: {line}")
            complaint = line
            continue
        complaint = ""
        key = (desired.champion.version, desired.challenge)
        if key == seen:
            continue
        seen = key  # also after a failure: what cannot be loaded is not tried every second
        apply(endpoint, registry, desired)


def apply(endpoint: Endpoint, registry: Registry, desired: DesiredState) -> None:
    """Deploy once. A failure is logged; if the champion stays, the challenger is to blame."""
    _log.info(f"desired: {desired.describe()}; {endpoint.version} answers meanwhile")
    challenge = desired.challenge or Challenge("")
    is_new = desired.champion.version != endpoint.version
    try:
        endpoint.deploy(
            desired.champion,
            desired.challenger,
            percent=challenge.percent,
            is_shadow=challenge.is_shadow,
        )
    except Exception as error:
        line = describe_failure(error)
        _log.warning(f"{endpoint.version} goes on answering: {line}")
        # A failure with a new champion says nothing about the challenger; it is tried at the next
        # change.
        if desired.challenger is not None and not is_new:
            _withdraw(registry, f"could not be served: {line}")
    else:
        how = " (its weights were swapped in place)" if endpoint.how == "in place" else ""
        _log.info(f"{desired.describe()} answers at {endpoint.url}{how}")


def _withdraw(registry: Registry, reason: str) -> None:
    try:
        registry.withdraw(reason)
    except Exception as error:
        _log.warning(f"the challenge was not withdrawn: {describe_failure(error)}")
