"""The two classes that Ray Serve runs: the gateway (one light process) and an engine per version.

In: settings as plain JSON, and for the gateway, as `user_config`, the `routing.TrafficSplit`: which
applications' engines answer now. Out: replicas. Decided here: the traffic split is
Serve's own `user_config`, so it outlives a restart of the gateway and reaches every replica of it;
a note whose replica died is answered by the next one; the monitor's report is published again and
again as gauges, because a gauge that is set once vanishes from Ray's metrics with its process.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

from ray import serve
from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import RayServeException

from deepicd.errors import DeepICDError
from deepicd.serving.engine.vllm import VllmEngine
from deepicd.serving.errors import not_ready, unavailable
from deepicd.serving.ingress.gateway import Gateway, build_app
from deepicd.serving.ingress.middleware import AccessMiddleware
from deepicd.serving.ingress.prediction_log import AsyncPredictionLog, open_log
from deepicd.serving.metrics import RayMetrics, VllmMetrics
from deepicd.serving.protocol import Choice, Engine, Generation, Head, ServedVersion, TooLong
from deepicd.serving.routing import Backend, TrafficSplit
from deepicd.serving.settings import ServedModel, ServingSettings

_REST = 9
"""Pause after a report, in times of what it took: a long log must not take the processor."""

logger = logging.getLogger("ray.serve")


class _RemoteEngine:
    """An engine in another process, by Serve's handle; a `protocol.Engine`."""

    def __init__(self, backend: Backend) -> None:
        self.version = backend.version
        self._app_name = backend.app
        self._handle: Any = None

    async def generate(
        self, note: str, num_samples: int, *, is_constrained: bool = False
    ) -> Generation | TooLong:
        """See `protocol.Engine`. Raises RefusedError 503 while the engine is down."""
        with self._translated():
            ask = (await self._connect()).generate.remote
            reply: Generation | TooLong
            try:
                reply = await _cancellable(ask(note, num_samples, is_constrained))
            except RayActorError:
                # The replica died under the note. Serve sends the second call to another one, and
                # the seeds make its answer the same.
                reply = await _cancellable(ask(note, num_samples, is_constrained))
            return reply

    async def forward(self, method: str, path: str, body: bytes) -> AsyncIterator[Head | bytes]:
        """See `protocol.Engine`. Raises RefusedError 503 while the engine is down."""
        with self._translated():
            handle = await self._connect()
            if not asks_for_stream(body):  # one message instead of one for each piece
                asked = handle.forward_whole.remote(method, path, body)
                for whole in await _cancellable(asked):
                    yield whole
                return
            pieces = handle.options(stream=True).forward.remote(method, path, body)
            try:
                async for piece in pieces:
                    yield piece
            finally:
                # A client that went away closes this generator; the engine must not generate for
                # nobody.
                pieces.cancel()

    async def card(self) -> str | None:
        """See `protocol.Engine`. Raises RefusedError 503 while the engine is down."""
        with self._translated():
            handle = await self._connect()
            text: str | None = await handle.card.remote()
            return text

    async def check_health(self) -> None:
        """See `protocol.Engine`. Raises RefusedError 503 while the engine is down."""
        with self._translated():
            handle = await self._connect()
            await handle.check_health.remote()

    async def _connect(self) -> Any:
        if self._handle is None:
            # In a thread: it asks Serve's controller, and would hold up every other request
            # meanwhile.
            self._handle = await asyncio.to_thread(serve.get_app_handle, self._app_name)
        return self._handle

    @contextlib.contextmanager
    def _translated(self) -> Any:
        try:
            yield
        except (RayError, RayServeException) as error:
            # Its name only: the message of an engine's exception may hold a note.
            logger.error("engine %s: %s", self._app_name, type(error).__name__)
            raise unavailable(self.version) from None


async def _cancellable(response: Any) -> Any:
    """A reply of Serve's; who stops waiting for it stops the engine's work on it too."""
    try:
        return await response
    except asyncio.CancelledError:
        response.cancel()
        raise


def asks_for_stream(body: bytes) -> bool:
    """Whether an OpenAI request wants its reply piece by piece; a broken body does not."""
    try:
        asked = json.loads(body)
    except ValueError:
        return False
    return isinstance(asked, dict) and bool(asked.get("stream"))


@serve.deployment(
    name="gateway",
    # Serve would queue what is above its limit (5 by default); the gateway refuses it with 429
    # instead (`max_concurrent`), so Serve's must never be reached.
    max_ongoing_requests=10_000,
    health_check_period_s=5,
    graceful_shutdown_wait_loop_s=0.5,
    # An answer may take longer than Serve's 20 s; what is still going on after these is cut off.
    graceful_shutdown_timeout_s=120,
)
# Without an application here: its routes need the replica's own log and traffic split, so Serve
# asks the replica for it (`__serve_build_asgi_app__`).
@serve.ingress()
class GatewayDeployment:
    """The gateway's replica: routes, limits, the traffic split, the prediction log, its gauges."""

    def __init__(self, settings: dict[str, Any], tokens: dict[str, str]) -> None:
        self._settings = ServingSettings.model_validate(settings)
        self._tokens = tokens
        self._log = AsyncPredictionLog(open_log(self._settings))
        self._traffic: TrafficSplit | None = None
        self._engines: dict[Backend, _RemoteEngine] = {}
        self._metrics = RayMetrics()
        self._publisher: asyncio.Task[None] | None = None

    def reconfigure(self, traffic: dict[str, Any]) -> None:
        """Take another traffic split; requests under way keep their engine.

        Serve calls this with the new `user_config`, and does not restart the replica.
        """
        self._traffic = TrafficSplit.model_validate(traffic)
        named = (self._traffic.champion, self._traffic.challenger)
        backends = [backend for backend in named if backend is not None]
        # An engine that stays keeps its handle, which knows the replica's queue already.
        self._engines = {
            backend: self._engines.get(backend) or _RemoteEngine(backend) for backend in backends
        }

    def choose(self, request_id: str) -> Choice:
        """See `protocol.Switch`."""
        backend, role = self._pointed().choose(request_id)
        return Choice(self._engines[backend], role)

    def champion(self) -> Engine:
        """See `protocol.Switch`."""
        return self._engines[self._pointed().champion]

    def shadow(self) -> Engine | None:
        """See `protocol.Switch`."""
        backend = self._pointed().shadow
        return None if backend is None else self._engines[backend]

    def describe(self) -> list[ServedVersion]:
        """See `protocol.Switch`."""
        return self._pointed().describe()

    def _pointed(self) -> TrafficSplit:
        if self._traffic is None:
            raise not_ready()
        return self._traffic

    async def __serve_build_asgi_app__(self) -> AccessMiddleware:
        """The ASGI application; Serve calls this once the replica is made."""
        gateway = Gateway(self, self._log, self._settings)
        if self._settings.log is not None:
            self._publisher = asyncio.create_task(self._publish(gateway))
        return build_app(
            gateway, self._settings, tokens=self._tokens, observe=self._metrics.observe
        )

    async def _publish(self, gateway: Gateway) -> None:
        while True:
            begun = time.monotonic()
            try:
                self._metrics.publish(await gateway.read_monitor())
            except Exception as error:  # the wall of monitoring: serving goes on
                logger.error("windows are not being published: %s", type(error).__name__)
            took_s = time.monotonic() - begun
            await asyncio.sleep(max(self._settings.metrics_period_s, _REST * took_s))


@serve.deployment(
    name="engine",
    # vLLM queues what it cannot run at once; Serve would hand it five.
    max_ongoing_requests=10_000,
    # Serve's default is 20: a version that cannot be loaded would be loaded 20 times.
    max_constructor_retry_count=1,
    health_check_period_s=5,
    graceful_shutdown_wait_loop_s=0.5,
    graceful_shutdown_timeout_s=120,
)
class EngineDeployment:
    """One version: vLLM in a process of its own."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = ServingSettings.model_validate(settings)
        self._engine: VllmEngine | None = None
        self._publisher: asyncio.Task[None] | None = None
        self._refusal = ""

    async def reconfigure(self, model: dict[str, Any]) -> None:
        """Load the model; another one than the present takes its place in this process.

        The first one that cannot be loaded ends the replica. A later one leaves the present
        weights, and `state` says why: Serve would end a replica whose `reconfigure` raises.
        """
        next_model = ServedModel.model_validate(model)
        if self._engine is None:
            self._engine = await VllmEngine.start(next_model, self._settings)
            self._publisher = asyncio.create_task(self._publish())
            return
        # Raising here would make Serve kill the replica, and with it the version that answers.
        self._refusal = ""
        try:
            await self._engine.swap(next_model)
        except DeepICDError as error:
            self._refusal = str(error)

    async def _publish(self) -> None:
        metrics = VllmMetrics()
        while True:
            metrics.publish()
            await asyncio.sleep(self._settings.metrics_period_s)

    async def state(self) -> tuple[str, str]:
        """Version that answers, and why the one asked for last does not, if so."""
        return self._ready().version, self._refusal

    def _ready(self) -> VllmEngine:
        if self._engine is None:
            raise RuntimeError("the engine is being loaded")
        return self._engine

    async def generate(
        self, note: str, num_samples: int, is_constrained: bool
    ) -> Generation | TooLong:
        """See `protocol.Engine`."""
        return await self._ready().generate(note, num_samples, is_constrained=is_constrained)

    async def forward(self, method: str, path: str, body: bytes) -> AsyncIterator[Head | bytes]:
        """See `protocol.Engine`."""
        async for piece in self._ready().forward(method, path, body):
            yield piece

    async def forward_whole(self, method: str, path: str, body: bytes) -> list[Head | bytes]:
        """As `forward`, at once."""
        return [piece async for piece in self._ready().forward(method, path, body)]

    async def card(self) -> str | None:
        """See `protocol.Engine`."""
        return await self._ready().card()

    async def check_health(self) -> None:
        """Called by Serve, which restarts the replica when this raises."""
        if self._engine is not None:
            await self._engine.check_health()

    def __del__(self) -> None:
        """End vLLM's process with the replica; Serve calls this when it has drained it."""
        if self._engine is not None:
            self._engine.stop()
