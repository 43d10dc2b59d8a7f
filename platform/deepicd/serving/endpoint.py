"""Start the endpoint, change who answers, stop it: the driver's side.

In: `ServedModel`s and `ServingSettings`. Out: `Endpoint`. Works inside a Ray that the caller has
initialised and then leaves it running; else starts a local one and ends it.

Decided here: every version is an application of its own, started beside the present ones; the
gateway is pointed at it only when it is healthy; who is no longer needed is then drained and
deleted. The engine of the champion before is kept while memory has room for it and one more
(`room`), so that a roll-back only moves the pointer. The gateway's code version is held constant,
so that moving the pointer reconfigures its replica and does not restart it. A version that cannot
be loaded leaves everything as it was.
"""

import logging
import os
import re
import socket
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from deepicd.errors import ConfigError, ServingError
from deepicd.serving.guard import ADMIN, LABEL, QUERY, hash_token
from deepicd.serving.room import check_room, count_cpus, has_room
from deepicd.serving.routing import Target, Targets
from deepicd.serving.settings import ServedModel, ServingSettings
from deepicd.session import connect

TOKEN_VARIABLE = "DEEPICD_TOKEN"
TOKEN_VARIABLES = {
    TOKEN_VARIABLE: ADMIN,
    "DEEPICD_QUERY_TOKEN": QUERY,
    "DEEPICD_LABEL_TOKEN": LABEL,
}
"""Environment variable → scope of the token that it holds."""
POLL_S = 0.1
SETTLE_S = 1.0
"""Between moving the pointer and draining the old engine: requests that chose it reach it."""


@dataclass
class Endpoint:
    """A running endpoint."""

    url: str
    settings: ServingSettings
    targets: Targets
    """Who answers."""
    owns_ray: bool
    """True when stopping ends Ray too."""
    engines: dict[str, str] = field(default_factory=dict)
    """Version → Serve application, of every engine that runs; the latest used last."""

    @property
    def version(self) -> str:
        """The champion's name."""
        return self.targets.champion.version

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

        Raises:
            MissingError: a folder holds no model.
            CapacityError: memory has no room for a further engine.
            ServingError: a version could not be loaded; those before go on answering.
        """
        from deepicd.serving.engine import check_model, max_prompt_tokens

        wanted = [model for model in (champion, challenger) if model is not None]
        for model in wanted:
            check_model(model)
            max_prompt_tokens(model, self.settings)
        for model in wanted:
            self._start(model)
        targets = Targets(
            champion=self._target(champion),
            challenger=None if challenger is None else self._target(challenger),
            percent=percent,
            is_shadow=is_shadow,
        )
        former = self.targets.champion.version
        _run([_gateway_target(self.settings, targets)], targets.champion.app)
        self.targets = targets
        time.sleep(SETTLE_S)
        self._end_idle(former, champion)

    def _target(self, model: ServedModel) -> Target:
        return Target(app=self.engines[model.version], version=model.version)

    def _start(self, model: ServedModel) -> None:
        """An engine of that version, unless it runs already."""
        if model.version in self.engines:
            return
        if not has_room(model, self.settings):
            self._end(self._idle())
        check_room(model, self.settings)
        app_name = _engine_app_name(model)
        _run([_engine_target(model, self.settings, app_name)], app_name)
        self.engines[model.version] = app_name

    def _idle(self) -> set[str]:
        named = (self.targets.champion, self.targets.challenger)
        return {*self.engines} - {target.version for target in named if target is not None}

    def _end_idle(self, former: str, like: ServedModel) -> None:
        self._end(self._idle() - {former})
        if not (self.settings.keep_former and has_room(like, self.settings)):
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
    read_tokens(settings)
    check_port(settings)
    import ray
    from ray import serve

    from deepicd.serving.engine import check_gpus, check_model, max_prompt_tokens

    check_model(model)
    max_prompt_tokens(model, settings)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    owns_ray = connect(num_cpus=count_cpus(settings))
    try:
        check_gpus(settings.engine, ray.cluster_resources().get("GPU", 0))
        _refuse_second_endpoint(serve)
        _start_serve(settings)
        target = Target(app=_engine_app_name(model), version=model.version)
        targets = Targets(champion=target)
        _run(
            [_engine_target(model, settings, target.app), _gateway_target(settings, targets)],
            target.app,
        )
        endpoint = Endpoint(
            _url(settings), settings, targets, owns_ray, engines={target.version: target.app}
        )
        _wait_until_answering(endpoint)
    except BaseException:
        _shut_down(owns_ray)
        raise
    return endpoint


def stop(endpoint: Endpoint) -> None:
    """End the endpoint and what `start` started for it; a second call does nothing."""
    _shut_down(endpoint.owns_ray)


def read_tokens(settings: ServingSettings) -> dict[str, str]:
    """Hash → scope of the tokens that clients may send; empty when none is asked for.

    Raises:
        ConfigError: no token may do everything, where the interface is not loopback or a token of
            a narrower scope is set; or two scopes share one.
    """
    given = {scope: os.environ.get(name, "").strip() for name, scope in TOKEN_VARIABLES.items()}
    tokens = {hash_token(token): scope for scope, token in given.items() if token}
    if len(tokens) < sum(map(bool, given.values())):
        raise ConfigError(f"two of {', '.join(TOKEN_VARIABLES)} hold one token; give each its own.")
    if not given[ADMIN] and (tokens or not settings.is_loopback):
        place = "a token is set" if tokens else f"{settings.host} can be reached from elsewhere"
        raise ConfigError(
            f"{place}, and {TOKEN_VARIABLE} is not set. Set it to a long random value, or serve on "
            "127.0.0.1 without tokens."
        )
    return tokens


def check_port(settings: ServingSettings) -> None:
    """Raise ServingError when another program listens on the port."""
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise ServingError(
                f"cannot listen on {settings.host}:{settings.port}: {error.strerror}. Stop what "
                "runs there, or choose another port (--port)."
            ) from error


def _start_serve(settings: ServingSettings) -> None:
    from ray import serve
    from ray.exceptions import RayError

    try:
        serve.start(
            proxy_location="HeadOnly",
            http_options={"host": settings.host, "port": settings.port},
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )
    except (RayError, TimeoutError) as error:
        raise ServingError(
            f"Ray Serve did not start: {type(error).__name__}. Free the machine and try again; "
            "Ray's session folder has its logs."
        ) from error


def _refuse_second_endpoint(serve: Any) -> None:
    from deepicd.serving.deployments import GATEWAY_APP

    if GATEWAY_APP in serve.status().applications:
        raise ServingError(
            "this Ray cluster serves an endpoint already. Use its deploy, stop it first, or start "
            "another cluster."
        )


def _engine_app_name(model: ServedModel) -> str:
    from deepicd.serving.deployments import ENGINE_APP_PREFIX

    name = re.sub(r"[^A-Za-z0-9_-]+", "-", model.version)
    return f"{ENGINE_APP_PREFIX}{name}-{uuid4().hex[:6]}"


def engine_app(model: ServedModel, settings: ServingSettings) -> Any:
    """Serve application of one version."""
    from deepicd.serving.deployments import EngineDeployment

    engine = settings.engine
    deployment = EngineDeployment.options(  # type: ignore[attr-defined]
        num_replicas=engine.num_replicas,
        ray_actor_options={"num_cpus": engine.num_cpus, "num_gpus": engine.num_gpus},
    )
    model = model.model_copy(update={"path": model.path.resolve()})
    return deployment.bind(model.model_dump(mode="json"), settings.model_dump(mode="json"))


def gateway_app(settings: ServingSettings, **options: Any) -> Any:
    """Serve application of the front; `options` are Serve's own.

    Raises:
        ConfigError: another interface than loopback without a token.
    """
    from deepicd.serving.deployments import GatewayDeployment

    deployment = GatewayDeployment.options(  # type: ignore[attr-defined]
        ray_actor_options={"num_cpus": 0}, **options
    )
    return deployment.bind(settings.model_dump(mode="json"), read_tokens(settings))


def _engine_target(model: ServedModel, settings: ServingSettings, app_name: str) -> Any:
    from ray import serve

    return serve.RunTarget(engine_app(model, settings), name=app_name, route_prefix=None)


def _gateway_target(settings: ServingSettings, targets: Targets) -> Any:
    from ray import serve

    from deepicd.serving.deployments import GATEWAY_APP

    app = gateway_app(
        settings,
        user_config=targets.model_dump(mode="json"),
        version="1",
        _internal=True,  # Serve keeps `version` to itself; with a new one the replica restarts
    )
    return serve.RunTarget(app, name=GATEWAY_APP, route_prefix="/")


def _run(targets: list[Any], engine_app: str) -> None:
    from ray import serve

    try:
        serve.run_many(targets)
    except (RuntimeError, TimeoutError) as error:
        message = _failure_of(engine_app) or str(error)
        if engine_app in serve.status().applications:
            serve.delete(engine_app)
        raise ServingError(
            f"version could not be started: {message.rstrip('.')}. The version before, if any, "
            "goes on answering."
        ) from error


def _failure_of(app_name: str) -> str | None:
    from ray import serve

    app = serve.status().applications.get(app_name)
    if app is None:
        return None
    messages = [app.message, *(d.message for d in app.deployments.values())]
    lines = [line.strip() for message in messages for line in message.splitlines()]
    own = [line for line in lines if line.startswith("deepicd.errors.")]
    return own[-1].partition(": ")[2] if own else None


def _wait_until_answering(endpoint: Endpoint) -> None:
    import httpx

    deadline = time.monotonic() + endpoint.settings.start_timeout_s
    last = "no connection"
    while time.monotonic() < deadline:
        try:
            reply = httpx.get(f"{endpoint.url}/healthz", timeout=10, trust_env=False)
            if reply.status_code == httpx.codes.OK:
                return
            last = f"{reply.status_code} {reply.text[:200]}"
        except httpx.TransportError as error:
            last = type(error).__name__
        time.sleep(POLL_S)
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
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    return f"http://{host}:{settings.port}"
