"""Which version answers a request: champion or canary, and who shadows them.

In: the traffic split of the endpoint, and a request's id. Out: a backend and its role. Decided
here: the share of a canary is taken by a hash of the request's id, so one id always meets the same
version (sticky) and the split needs no memory; a raised share keeps every id that the canary had
already.
"""

import hashlib
import re
import uuid
from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from deepicd.config import StrictModel
from deepicd.serving.protocol import ServedVersion

GATEWAY_APP = "deepicd"

ENGINE_APP_PREFIX = "deepicd-engine-"

CHAMPION: Literal["champion"] = "champion"
_CANARY: Literal["canary"] = "canary"
SHADOW: Literal["shadow"] = "shadow"
REQUEST_ID = "x-request-id"
"""Header by which a client keeps to one version; made up where it is missing or odd."""

_IDENTIFIER = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
# So many, that a hundredth of a percent can be asked for.
_NUM_BUCKETS = 10_000


class Backend(StrictModel):
    """A version, and the Serve application that holds its engine."""

    app: str
    version: str


class TrafficSplit(StrictModel):
    """Which backends answer now, and which share of the requests. Travels as `user_config`."""

    champion: Backend
    challenger: Backend | None = None
    percent: float = Field(default=0.0, ge=0, le=100)
    """Share of the requests that the challenger answers as canary."""
    is_shadow: bool = False
    """The challenger also answers a copy of every request of the typed route."""

    def choose(self, request_id: str) -> tuple[Backend, Literal["champion", "canary"]]:
        """Who answers a request, and as what."""
        if self.challenger is not None and place_of(request_id) < self.percent:
            return self.challenger, _CANARY
        return self.champion, CHAMPION

    @property
    def shadow(self) -> Backend | None:
        """Who answers copies."""
        return self.challenger if self.is_shadow else None

    def describe(self) -> list[ServedVersion]:
        """Every version and role, with its share of the requests in percent."""
        share = self.percent if self.challenger is not None else 0.0
        served = [ServedVersion(self.champion.version, CHAMPION, 100.0 - share)]
        if self.challenger is not None and share > 0:
            served.append(ServedVersion(self.challenger.version, _CANARY, share))
        if self.shadow is not None:
            served.append(ServedVersion(self.shadow.version, SHADOW, 0.0))
        return served


def place_of(request_id: str) -> float:
    """Where a request lies between 0 and 100, evenly and for ever the same."""
    digest = hashlib.sha256(request_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") % _NUM_BUCKETS * 100 / _NUM_BUCKETS


def request_id_of(headers: Mapping[str, str]) -> str:
    """The client's id of a request, or a new one."""
    client_id = headers.get(REQUEST_ID, "")
    return client_id if _IDENTIFIER.fullmatch(client_id) else uuid.uuid4().hex
