"""Which endpoint may see a note: an allow-list of hosts, the same for judge and teacher."""

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from deepicd.config.strict_model import Contradiction

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Hosts that may see notes unless others are named: this machine."""


def endpoint_faults(
    place: str, url: str, *, model: str, allowed_hosts: Sequence[str]
) -> Iterator[Contradiction]:
    """What is wrong with an endpoint that notes are sent to; nothing where there is none.

    Args:
        place: dotted address of the table that has `url`, `model` and `allowed_hosts`.
        url: base address, empty for no endpoint.
        model: name of the model there.
        allowed_hosts: hosts that may see notes.
    """
    if not url:
        return
    host = _host_of(url)
    if not host:
        yield ("url",), f"{place}.url must be like http://127.0.0.1:8001/v1; got {url!r}"
    # The host alone: a port, or a user in front of it, does not say who sees the notes.
    elif host not in allowed_hosts:
        yield (
            ("url",),
            f"{place}.url sends notes to {host}, which is not in {place}.allowed_hosts "
            f"{list(allowed_hosts)}; add it only if your data use agreement lets notes go there",
        )
    if not model:
        yield ("model",), f"{place}.url is set, {place}.model is not; name the model"


def _host_of(url: str) -> str:
    """The host of an HTTP address; empty where it is none."""
    try:
        parts = urlsplit(url)
    except ValueError:  # a bracket that is not closed
        return ""
    return (parts.hostname or "") if parts.scheme in {"http", "https"} else ""
