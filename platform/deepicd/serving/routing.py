"""Which version answers a request: champion or canary, and who shadows them.

In: the traffic that the endpoint was pointed at, and a request's id. Out: a role. Decided here: the
share of a canary is taken by a hash of the request's id, so one id always meets the same version
(sticky) and the split needs no memory; a raised share keeps every id that the canary had already.
"""

import hashlib
import re
import uuid
from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from deepicd.config import Part

GATEWAY_APP = "deepicd"

ENGINE_APP_PREFIX = "deepicd-engine-"

CHAMPION: Literal["champion"] = "champion"
CANARY: Literal["canary"] = "canary"
SHADOW: Literal["shadow"] = "shadow"
REQUEST_ID = "x-request-id"
"""Header by which a client keeps to one version; made up where it is missing or odd."""

_IDENTIFIER = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
_PARTS = 10_000


class Backend(Part):
    """A version and the Serve application that holds its engine."""

    app: str
    version: str


class TrafficSplit(Part):
    """Who answers now. Travels as Serve's `user_config`."""

    champion: Backend
    challenger: Backend | None = None
    percent: float = Field(default=0.0, ge=0, le=100)
    """Share of the requests that the challenger answers as canary."""
    is_shadow: bool = False
    """The challenger also answers a copy of every request of the typed route."""

    def choose(self, request_id: str) -> tuple[Backend, Literal["champion", "canary"]]:
        """Who answers a request, and as what."""
        if self.challenger is not None and place_of(request_id) < self.percent:
            return self.challenger, CANARY
        return self.champion, CHAMPION

    @property
    def shadow(self) -> Backend | None:
        """Who answers copies."""
        return self.challenger if self.is_shadow else None

    def describe(self) -> list[dict[str, str | float]]:
        """One row for each version and role, with its share of the requests in percent."""
        share = self.percent if self.challenger is not None else 0.0
        rows: list[dict[str, str | float]] = [
            {"version": self.champion.version, "role": CHAMPION, "percent": 100.0 - share}
        ]
        if self.challenger is not None and share > 0:
            rows.append({"version": self.challenger.version, "role": CANARY, "percent": share})
        if self.shadow is not None:
            rows.append({"version": self.shadow.version, "role": SHADOW, "percent": 0.0})
        return rows


def place_of(request_id: str) -> float:
    """Where a request lies between 0 and 100, evenly and for ever the same."""
    digest = hashlib.sha256(request_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") % _PARTS * 100 / _PARTS


def request_id_of(headers: Mapping[str, str]) -> str:
    """The client's id of a request, or a new one."""
    given = headers.get(REQUEST_ID, "")
    return given if _IDENTIFIER.fullmatch(given) else uuid.uuid4().hex
