"""Start the endpoint, change who answers, stop it: the driver's side.

In: `ServedModel`s and `ServingSettings`. Out: `Endpoint`. Works inside a Ray that the caller has
initialised and then leaves it running; else starts a local one and ends it.

Decided here: every version is an application of its own, started beside the present ones; it gets
traffic only when it is healthy; engines that are no longer needed are then drained and deleted. The
engine of the champion before is kept while there is capacity for it and one more (`capacity`), so
that a roll-back only changes the traffic split. A version that cannot be loaded leaves everything
as it was.
"""

import logging
import socket
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from deepicd.clusters.ray_session import connect
from deepicd.errors import ServingError
from deepicd.serving.applications import (
    delete_app,
    engine_app_name,
    engine_run_target,
    gateway_run_target,
    read_tokens,
    run_apps,
)
from deepicd.serving.capacity import check_capacity, count_cpus, has_capacity
from deepicd.serving.routing import GATEWAY_APP, Backend, TrafficSplit
from deepicd.serving.settings import ServedModel, ServingSettings

_POLL_S = 0.1
_RAY_ENV = {
    "RAY_worker_niceness": "0",  # an endpoint is no background work
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",  # ours never blocks: a hop less a message
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
}
"""Environment of a Ray that the endpoint starts for itself. A third of the time that Serve adds to
a request is switching threads. Serve's gRPC between replicas would save more, but is not
authenticated."""
_SETTLE_S = 1.0
"""Seconds between a new traffic split and draining the old engine: requests that chose it before
still reach it."""


@dataclass
class Endpoint:
    """A running endpoint."""

    url: str
    settings: ServingSettings
    traffic: TrafficSplit
    """Which versions answer."""
    owns_ray: bool
    """True when stopping ends Ray too."""
    engines: dict[str, str] = field(default_factory=dict)
    """Version → Serve application, of every engine that runs; the latest used last."""
    how: Literal["beside", "in place"] = "beside"
    """How the latest change was made: with a further engine, or within the one that runs."""
    _models: dict[str, ServedModel] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The champion's name."""
        return self.traffic.champion.version

    def deploy(
        self,
        champion: ServedModel,
        challenger: ServedModel | None = None,
        *,
        percent: float = 0.0,
        is_shadow: bool = False,
    ) -> None:
        """Let other versions answer, without a request failing; returns when they do.

        Args:
            champion: answers what the challenger does not.
            challenger: tried beside it; None for nobody.
            percent: of the requests, which the challenger answers as canary.
            is_shadow: the challenger answers copies too.

        Without capacity for a further engine, the new champion's weights take the place of
        the present ones in the engine that runs (`how` says which it was).

        Raises:
            MissingError: a folder holds no model.
            CapacityError: no capacity for a further engine, for a challenger, or with
                several replicas.
            ServingError: a version could not be loaded; those before go on answering.
        """
        from deepicd.serving.engine.version_checks import check_model, max_prompt_tokens

        models = [model for model in (champion, challenger) if model is not None]
        # Both, before anything is started or ended: a refusal must leave the endpoint as it is.
        for model in models:
            check_model(model)
            max_prompt_tokens(model, self.settings)
        if challenger is None and self._must_swap(champion):
            self._swap(champion)
            return
        for model in models:
            self._start(model)
        traffic = TrafficSplit(
            champion=self._backend(champion),
            challenger=None if challenger is None else self._backend(challenger),
            percent=percent,
            is_shadow=is_shadow,
        )
        former = self.traffic.champion.version
        self._point(traffic)
        self.how = "beside"
        time.sleep(_SETTLE_S)
        self._end_idle(former, champion)

    def _backend(self, model: ServedModel) -> Backend:
        return Backend(app=self.engines[model.version], version=model.version)

    def _start(self, model: ServedModel) -> None:
        """An engine of that version, unless it runs already."""
        if model.version in self.engines:
            return
        if not has_capacity(model, self.settings):
            self._end(self._idle())
        check_capacity(model, self.settings)
        app_name = engine_app_name(model)
        try:
            run_apps([engine_run_target(model, self.settings, app_name)], app_name)
        except ServingError:
            # Serve goes on listing an application whose start failed.
            delete_app(app_name)
            raise
        self.engines[model.version] = app_name
        self._models[model.version] = model

    def _must_swap(self, model: ServedModel) -> bool:
        """Whether memory leaves no other way than to change the weights in place."""
        if model.version in self.engines or self.settings.engine.num_replicas > 1:
            return False
        if not has_capacity(model, self.settings):
            self._end(self._idle())
        return not has_capacity(model, self.settings)

    def _swap(self, model: ServedModel) -> None:
        from ray import serve

        present, app = self.traffic.champion.version, self.traffic.champion.app
        before = self._models[present]
        # `deploy` swaps only where no challenger is wanted any more; it loses its traffic first.
        if self.traffic.challenger is not None:
            self._point(TrafficSplit(champion=self.traffic.champion))
            self._end(self._idle())
        try:
            run_apps([engine_run_target(model, self.settings, app)], app)
            version, refusal = serve.get_app_handle(app).state.remote().result()
            if version != model.version:
                raise ServingError(f"{refusal.rstrip('.')}. {present} goes on answering.")
        except ServingError:
            # Serve keeps the last user_config; a replica that restarts must load the old version.
            run_apps([engine_run_target(before, self.settings, app)], app)
            raise
        self.engines = {model.version: app}
        self._models[model.version] = model
        self.how = "in place"
        self._point(TrafficSplit(champion=Backend(app=app, version=model.version)))

    def _point(self, traffic: TrafficSplit) -> None:
        run_apps([gateway_run_target(self.settings, traffic)], traffic.champion.app)
        self.traffic = traffic

    def _idle(self) -> set[str]:
        named = (self.traffic.champion, self.traffic.challenger)
        return {*self.engines} - {backend.version for backend in named if backend is not None}

    def _end_idle(self, former: str, like: ServedModel) -> None:
        self._end(self._idle() - {former})
        if not (self.settings.keep_former and has_capacity(like, self.settings)):
            self._end(self._idle())

    def _end(self, versions: set[str]) -> None:
        from ray import serve

        for version in versions:
            serve.delete(self.engines.pop(version))

    def stop(self) -> None:
        """See `stop`."""
        stop(self)

    def __enter__(self) -> "Endpoint":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(model: ServedModel, settings: ServingSettings) -> Endpoint:
    """Serve a model; returns when it answers.

    Raises:
        ConfigError: another interface than loopback without a token.
        CapacityError: fewer GPUs than the engine needs.
        ServingError: the port is taken, Serve runs already, or the model could not be loaded.
    """
    # For its errors only, before anything is started; the gateway's application reads them again.
    read_tokens(settings)
    check_port(settings)
    import ray
    from ray import serve

    from deepicd.serving.engine.version_checks import check_gpus, check_model, max_prompt_tokens

    check_model(model)
    max_prompt_tokens(model, settings)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    owns_ray = connect(num_cpus=count_cpus(settings), environment=_RAY_ENV)
    try:
        check_gpus(settings.engine, ray.cluster_resources().get("GPU", 0))
        _refuse_second_endpoint(serve)
        _start_serve(settings)
        backend = Backend(app=engine_app_name(model), version=model.version)
        traffic = TrafficSplit(champion=backend)
        run_apps(
            [
                engine_run_target(model, settings, backend.app),
                gateway_run_target(settings, traffic),
            ],
            backend.app,
        )
        endpoint = Endpoint(
            _url(settings),
            settings,
            traffic,
            owns_ray,
            engines={backend.version: backend.app},
            _models={model.version: model},
        )
        # Serve calls an application healthy a moment before its proxy knows the route.
        _wait_until_answering(endpoint)
    except BaseException:
        _shut_down(owns_ray)
        raise
    return endpoint


def stop(endpoint: Endpoint) -> None:
    """End the endpoint and what `start` started for it; a second call does nothing."""
    _shut_down(endpoint.owns_ray)


def check_port(settings: ServingSettings) -> None:
    """Raise ServingError when another program listens on the port."""
    host, port = settings.config.host, settings.config.port
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As servers do: connections of an endpoint that has just ended must not make the port look
        # taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServingError(
                f"cannot listen on {host}:{port}: {error.strerror}. Stop what "
                "runs there, or choose another port (--port)."
            ) from error


def _start_serve(settings: ServingSettings) -> None:
    from ray import serve
    from ray.exceptions import RayError

    try:
        serve.start(
            proxy_location="HeadOnly",
            http_options={"host": settings.config.host, "port": settings.config.port},
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )
    except (RayError, TimeoutError) as error:
        raise ServingError(
            f"Ray Serve did not start: {type(error).__name__}. Free the machine and try again; "
            "Ray's session folder has its logs."
        ) from error


def _refuse_second_endpoint(serve: Any) -> None:
    if GATEWAY_APP in serve.status().applications:
        raise ServingError(
            "this Ray cluster serves an endpoint already. Use its deploy, stop it first, or start "
            "another cluster."
        )


def _wait_until_answering(endpoint: Endpoint) -> None:
    import httpx

    deadline = time.monotonic() + endpoint.settings.start_timeout_s
    last = "no connection"
    while time.monotonic() < deadline:
        try:
            # A proxy that the environment names could not reach this machine's loopback.
            reply = httpx.get(f"{endpoint.url}/healthz", timeout=10, trust_env=False)
            if reply.status_code == httpx.codes.OK:
                return
            last = f"{reply.status_code} {reply.text[:200]}"
        except httpx.TransportError as error:
            last = type(error).__name__
        time.sleep(_POLL_S)
    raise ServingError(
        f"{endpoint.url} did not answer within {endpoint.settings.start_timeout_s:g} s (last: "
        f"{last}). Raise start_timeout_s, or look into Ray's session folder."
    )


def _shut_down(owns_ray: bool) -> None:
    import ray
    from ray import serve

    if ray.is_initialized():
        serve.shutdown()
    if owns_ray:
        ray.shutdown()


def _url(settings: ServingSettings) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.config.host, settings.config.host)
    return f"http://{host}:{settings.config.port}"
