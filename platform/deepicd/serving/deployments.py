"""The two classes that Ray Serve runs: the gateway (one light process) and an engine per version.

In: settings as plain JSON, and for the gateway, as `user_config`, the name of the application whose
engine answers now. Out: replicas. Decided here: the pointer is Serve's own `user_config`, so it
outlives a restart of the gateway and reaches every replica of it; windows are published again and
again as gauges, because a gauge that is set once vanishes from Ray's metrics with its process.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.metrics import Gauge

from deepicd.records import Window
from deepicd.serving.engine import VllmEngine
from deepicd.serving.gateway import build_app, not_ready, unavailable
from deepicd.serving.guard import Guard
from deepicd.serving.keeper import LogKeeper
from deepicd.serving.protocols import Engine, Generation, Head, TooLong, open_log
from deepicd.serving.settings import ServedModel, ServingSettings

GATEWAY_APP = "deepicd"
ENGINE_APP_PREFIX = "deepicd-engine-"

logger = logging.getLogger("ray.serve")


class RemoteEngine:
    """An engine in another process, by Serve's handle; a `protocols.Engine`."""

    def __init__(self, app_name: str, version: str) -> None:
        self.version = version
        self._app_name = app_name
        self._handle: Any = None

    async def generate(self, note: str, num_samples: int) -> Generation | TooLong:
        """See `protocols.Engine`. Raises RefusedError 503 while the engine is down."""
        with self._translated():
            handle = await self._connect()
            reply: Generation | TooLong = await handle.generate.remote(note, num_samples)
            return reply

    async def forward(self, method: str, path: str, body: bytes) -> AsyncIterator[Head | bytes]:
        """See `protocols.Engine`. Raises RefusedError 503 while the engine is down."""
        with self._translated():
            handle = await self._connect()
            pieces = handle.options(stream=True).forward.remote(method, path, body)
            try:
                async for piece in pieces:
                    yield piece
            finally:
                pieces.cancel()

    async def card(self) -> str | None:
        """See `protocols.Engine`. Raises RefusedError 503 while the engine is down."""
        with self._translated():
            handle = await self._connect()
            text: str | None = await handle.card.remote()
            return text

    async def check_health(self) -> None:
        """See `protocols.Engine`. Raises RefusedError 503 while the engine is down."""
        with self._translated():
            handle = await self._connect()
            await handle.check_health.remote()

    async def _connect(self) -> Any:
        if self._handle is None:
            self._handle = await asyncio.to_thread(serve.get_app_handle, self._app_name)
        return self._handle

    @contextlib.contextmanager
    def _translated(self) -> Any:
        try:
            yield
        except (RayError, RayServeException) as error:
            logger.error("engine %s: %s", self._app_name, type(error).__name__)
            raise unavailable(self.version) from None


@serve.deployment(
    name="gateway",
    max_ongoing_requests=10_000,
    health_check_period_s=5,
    graceful_shutdown_wait_loop_s=0.5,
    graceful_shutdown_timeout_s=120,
)
@serve.ingress()
class GatewayDeployment:
    """The front: routes, limits, the pointer, the prediction log and its gauges."""

    def __init__(self, settings: dict[str, Any], tokens: dict[str, str]) -> None:
        self._settings = ServingSettings.model_validate(settings)
        self._tokens = tokens
        self._keeper = LogKeeper(open_log(self._settings.log))
        self._engine: Engine | None = None
        self._gauges = WindowGauges()
        self._publisher: asyncio.Task[None] | None = None

    def reconfigure(self, target: dict[str, str]) -> None:
        """Point at another engine; requests under way keep theirs."""
        self._engine = RemoteEngine(target["app"], target["version"])

    def current(self) -> Engine:
        """See `protocols.Switch`."""
        if self._engine is None:
            raise not_ready()
        return self._engine

    async def __serve_build_asgi_app__(self) -> Guard:
        """The ASGI application; Serve calls this once the replica is made."""
        if self._settings.log is not None:
            self._publisher = asyncio.create_task(self._publish())
        return build_app(self, self._keeper, self._settings, tokens=self._tokens)

    async def _publish(self) -> None:
        while True:
            try:
                self._gauges.set(await self._keeper.windows())
            except Exception as error:  # the wall of monitoring: serving goes on
                logger.error("windows are not being published: %s", type(error).__name__)
            await asyncio.sleep(self._settings.metrics_period_s)


class WindowGauges:
    """The latest window of each version as Prometheus gauges (Ray adds the prefix `ray_`)."""

    def __init__(self) -> None:
        self._f1 = Gauge(
            "deepicd_hierarchical_f1",
            description="Hierarchical F1 of the latest window: bound is value, low or high.",
            tag_keys=("version", "bound"),
        )
        self._predictions = Gauge(
            "deepicd_window_predictions",
            description="Predictions in the latest window; kind is all or labelled.",
            tag_keys=("version", "kind"),
        )

    def set(self, windows: Any) -> None:
        """Publish the latest window of every version."""
        latest: dict[str, Window] = {}
        for window in windows:
            if window.version not in latest or window.end >= latest[window.version].end:
                latest[window.version] = window
        for version, window in latest.items():
            bounds = {"value": window.hierarchical_f1, "low": window.low, "high": window.high}
            for bound, number in bounds.items():
                if number is not None:
                    self._f1.set(number, tags={"version": version, "bound": bound})
            counts = {"all": window.num_predictions, "labelled": window.num_labelled}
            for kind, count in counts.items():
                self._predictions.set(count, tags={"version": version, "kind": kind})


@serve.deployment(
    name="engine",
    max_ongoing_requests=10_000,
    max_constructor_retry_count=1,
    health_check_period_s=5,
    graceful_shutdown_wait_loop_s=0.5,
    graceful_shutdown_timeout_s=120,
)
class EngineDeployment:
    """One version: vLLM in a process of its own."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, model: dict[str, Any], settings: dict[str, Any]
    ) -> None:
        self._engine = await VllmEngine.start(
            ServedModel.model_validate(model), ServingSettings.model_validate(settings)
        )

    async def generate(self, note: str, num_samples: int) -> Generation | TooLong:
        """See `protocols.Engine`."""
        return await self._engine.generate(note, num_samples)

    async def forward(self, method: str, path: str, body: bytes) -> AsyncIterator[Head | bytes]:
        """See `protocols.Engine`."""
        async for piece in self._engine.forward(method, path, body):
            yield piece

    async def card(self) -> str | None:
        """See `protocols.Engine`."""
        return await self._engine.card()

    async def check_health(self) -> None:
        """Called by Serve, which restarts the replica when this raises."""
        await self._engine.check_health()

    def __del__(self) -> None:
        """End vLLM's process with the replica."""
        if hasattr(self, "_engine"):
            self._engine.stop()
