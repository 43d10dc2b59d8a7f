"""Checks against web pages that use the reader's browser: Host, Origin, type of the body.

In: an ASGI scope. Out: nothing, or a refusal. Decided here: a page that a name leads to this
machine (DNS rebinding) is told by its Host, one from elsewhere by its Origin and `Sec-Fetch-Site`;
a form can send no `application/json` without asking first, and nobody here answers such a question.
All of it holds with a token too: a token in the page's tab must not be usable from another page.
"""

import ipaddress
import socket
from collections.abc import MutableMapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from deepicd.config import ServingConfig
from deepicd.serving.errors import RefusedError
from deepicd.serving.settings import is_loopback

_SAME = {"same-origin", "none"}
"""`none`: typed into the address bar."""


def header(message: MutableMapping[str, Any], name: bytes) -> str:
    """Of a request's scope, or of the start of a reply; empty without it."""
    return next((v.decode("latin-1") for k, v in message["headers"] if k.lower() == name), "")


def _accepted_hosts(config: ServingConfig) -> frozenset[str]:
    """Names under which the endpoint answers, besides addresses: loopback, its interface, this
    machine where others may reach it, and `serving.hosts`.
    """
    names = {"localhost", config.host, *config.hosts}
    if not is_loopback(config.host):
        names |= _own_names()
    return frozenset(name.lower() for name in names)


@cache
def _own_names() -> frozenset[str]:
    return frozenset({socket.gethostname(), socket.getfqdn()})


def check_host(scope: MutableMapping[str, Any], config: ServingConfig) -> None:
    """Raise RefusedError unless a request names this endpoint as its host."""
    host = _host_name(header(scope, b"host"))
    if host in _accepted_hosts(config) or _is_own_address(host, config):
        return
    raise RefusedError(
        "the Host of this request is no name of this endpoint. Use its address, or add the name to "
        "serving.hosts.",
        status=421,
    )


def _is_own_address(host: str, config: ServingConfig) -> bool:
    """No name leads to an address by rebinding, so any is taken where others may connect."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or not is_loopback(config.host)


def check_origin(scope: MutableMapping[str, Any]) -> None:
    """Raise RefusedError where a browser says that another site's page sends the request."""
    origin, site = header(scope, b"origin"), header(scope, b"sec-fetch-site")
    is_own = not origin or _authority(origin) == header(scope, b"host").lower()
    if is_own and (not site or site in _SAME):
        return
    raise RefusedError(
        "a page of another site sends this request. Open the endpoint's own page, or use a "
        "program.",
        status=403,
    )


def check_media_type(scope: MutableMapping[str, Any]) -> None:
    """Raise RefusedError unless a body that is sent is announced as JSON."""
    if scope["method"] != "POST":
        return
    kind = header(scope, b"content-type").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RefusedError(
            "a body must be JSON and say so: send the header 'Content-Type: application/json'.",
            status=415,
        )


def _host_name(host: str) -> str:
    """Without its port and the brackets of IPv6; empty where it is none."""
    return _split(f"//{host}")[0]


def _authority(origin: str) -> str:
    """Host and port of an origin, as the header Host has them."""
    return _split(origin)[1]


def _split(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
        return parts.hostname or "", parts.netloc.lower()
    except ValueError:
        return "", ""
