"""ASGI middleware before every route: host, origin, token, size and time of the body, requests in
flight.

In: an ASGI application. Out: the same one behind these checks. Decided here: a body is read whole,
up to the limit, before anything else happens; a request counts as in flight until the last byte is
sent; a bug in a route becomes a 500 and is logged by type and place only, because an exception's
text may hold a note.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from deepicd.serving.errors import RefusedError, timed_out
from deepicd.serving.ingress.dashboard import PATHS
from deepicd.serving.ingress.request_checks import (
    check_host,
    check_media_type,
    check_origin,
    header,
)
from deepicd.serving.metrics import Observe
from deepicd.serving.settings import ServingSettings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
_App = Callable[[Message, Receive, Send], Awaitable[None]]

_OPEN_PATHS = ("/healthz", *PATHS)
"""Answered without a token and outside the limit, so that a busy endpoint is not taken for dead."""

ROLE_HEADER = "x-model-role"
"""Header of a reply: as what the version answered."""

logger = logging.getLogger("deepicd.serving")


ADMIN, QUERY, LABEL = "admin", "query", "label"
"""Scopes of a token; `admin` may do everything, also what has no scope of its own."""
_SCOPES = {"/v1/labels": LABEL, "/v1/monitor": ADMIN, "/v1/rollouts": ADMIN}
"""Route → the scope that it needs; every other one needs `query`."""

_ALWAYS_BY_TOKEN = ("/v1/rollouts",)
"""Text: other users of this machine reach loopback too, so it is never given without a token."""

Tokens = Mapping[str, str]
"""Hash of a token → its scope."""


def hash_token(token: str) -> str:
    """What is kept of a token: replicas compare hashes, so the cluster's state never holds it."""
    return hashlib.sha256(token.encode()).hexdigest()


def internal_error() -> RefusedError:
    """A bug, as a client sees it."""
    return RefusedError("an internal error; the endpoint's log names its place.", status=500)


class AccessMiddleware:
    """Lets requests through to another ASGI application, or refuses them."""

    def __init__(
        self,
        app: _App,
        *,
        settings: ServingSettings,
        tokens: Tokens | None,
        observe: Observe | None = None,
    ) -> None:
        self._app = app
        self._config = settings.config
        self._max_concurrent = settings.config.max_concurrent
        self._max_body_bytes = settings.config.max_note_bytes
        self._body_timeout_s = settings.body_timeout_s
        self._reply_timeout_s = settings.reply_timeout_s
        self._tokens = tokens
        self._observe = observe or (lambda role, status, seconds: None)
        self._num_in_flight = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with a refusal."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_begun = is_whole = False
        status, role, begun = 500, "", time.monotonic()

        async def watched_send(message: Message) -> None:
            nonlocal is_begun, is_whole, status, role
            if message["type"] == "http.response.start":
                status, role = message["status"], header(message, ROLE_HEADER.encode())
            is_begun = True
            is_whole = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        try:
            await self._admit(scope, receive, watched_send)
        except RefusedError as problem:
            if is_begun:
                # The status is sent already; only a broken connection can tell the client now.
                raise
            await _refuse(problem, scope["path"], watched_send)
        except Exception as error:
            _log_bug(error, scope["path"])
            if is_begun and not is_whole:
                raise RefusedError("the reply broke off", status=500) from None
            # Starlette answers a bug by our handler and raises it again; then the reply is whole,
            # and there is nothing left to send.
            if not is_begun:
                await _refuse(internal_error(), scope["path"], watched_send)
        finally:
            if scope["path"] not in _OPEN_PATHS:
                self._observe(role, status, time.monotonic() - begun)

    async def _admit(self, scope: Message, receive: Receive, send: Send) -> None:
        check_host(scope, self._config)
        if scope["path"] in _OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        # Before the token: a browser would send the one that the reader's own tab holds.
        check_origin(scope)
        self._check_token(scope)
        check_media_type(scope)
        if self._num_in_flight >= self._max_concurrent:
            raise RefusedError(
                f"{self._max_concurrent} requests are in flight, which is the limit "
                "(max_concurrent). Try again in a second.",
                status=429,
                headers={"retry-after": "1"},
            )
        # No await since the check above, so no other request can have come in between.
        self._num_in_flight += 1
        try:
            body = await self._read_in_time(scope, receive)
            await self._reply_in_time(scope, _replay(body, receive), send)
        finally:
            self._num_in_flight -= 1

    def _check_token(self, scope: Message) -> None:
        if not self._tokens:
            if scope["path"] in _ALWAYS_BY_TOKEN:
                raise _needs_token(f"{scope['path']} is for who holds the token that may do all")
            return
        kind, _, token = header(scope, b"authorization").partition(" ")
        digest, has = hash_token(token.strip()), None
        # All are compared, without a break: the time must not tell which one was near.
        for accepted, of in self._tokens.items():
            if hmac.compare_digest(digest, accepted) and kind.lower() == "bearer":
                has = of
        if has is None:
            raise _needs_token("this endpoint asks for a token")
        needed = _SCOPES.get(scope["path"], QUERY)
        if has not in {ADMIN, needed}:
            raise RefusedError(
                f"this token has the scope {has}, and {scope['path']} needs {needed}. Ask whoever "
                "runs the endpoint for one.",
                status=403,
            )

    async def _read_in_time(self, scope: Message, receive: Receive) -> bytes:
        try:
            return await asyncio.wait_for(self._read_body(scope, receive), self._body_timeout_s)
        except TimeoutError:
            raise RefusedError(
                f"the body did not come within {self._body_timeout_s:g} s.",
                status=408,
                headers={"connection": "close"},
            ) from None

    async def _reply_in_time(self, scope: Message, receive: Receive, send: Send) -> None:
        # Around the sending too: a client that reads nothing must not hold a place for ever.
        limit = asyncio.timeout(self._reply_timeout_s)
        try:
            async with limit:
                await self._app(scope, receive, send)
        except TimeoutError:
            if not limit.expired():
                raise
            raise timed_out(self._reply_timeout_s, "reply_timeout_s") from None

    async def _read_body(self, scope: Message, receive: Receive) -> bytes:
        # Announced sizes are refused unread; bytes are counted below all the same, because the
        # header may be missing or wrong.
        length = header(scope, b"content-length")
        if length.isdigit() and int(length) > self._max_body_bytes:
            raise self._too_large(f"{length} bytes")
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RefusedError("the client went away", status=400)
            body += message.get("body", b"")
            if len(body) > self._max_body_bytes:
                raise self._too_large("more")
            if not message.get("more_body", False):
                return bytes(body)

    def _too_large(self, size: str) -> RefusedError:
        return RefusedError(
            f"a body may have at most {self._max_body_bytes} bytes (max_body_bytes); got {size}. "
            "Send one admission note without attachments.",
            status=413,
            # The rest of the body was not read, so the connection cannot carry another request.
            headers={"connection": "close"},
        )


def _needs_token(why: str) -> RefusedError:
    return RefusedError(
        f"{why}: send the header 'Authorization: Bearer TOKEN' (deepicd query takes it from "
        "DEEPICD_TOKEN; the endpoint is started with one).",
        status=401,
        headers={"www-authenticate": "Bearer"},
    )


def _replay(body: bytes, receive: Receive) -> Receive:
    is_sent = False

    async def replayed() -> Message:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _log_bug(error: Exception, path: str) -> None:
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    places = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames))
    logger.error("%s in %s at %s", type(error).__name__, path, places)


async def _refuse(problem: RefusedError, path: str, send: Send) -> None:
    content = json.dumps(problem.body(path)).encode()
    headers = {
        "content-type": problem.media_type(path),
        "content-length": str(len(content)),
        **problem.headers,
    }
    encoded = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": encoded})
    await send({"type": "http.response.body", "body": content})
