"""Start the endpoint, change the version that answers, stop it: the driver's side.

In: a `ServedModel` and `ServingSettings`. Out: `Endpoint`. Works inside a Ray that the caller has
initialised and then leaves it running; else starts a local one and ends it.

Decided here: a new version is an application of its own, started beside the present one; the
gateway is pointed at it only when it is healthy; the old one is then drained and deleted. The
gateway's code version is held constant, so that moving the pointer reconfigures its replica and
does not restart it. A version that cannot be loaded leaves everything as it was.
"""

import logging
import os
import re
import socket
import time
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from deepicd.errors import ConfigError, ServingError
from deepicd.serving.guard import ADMIN, LABEL, QUERY, hash_token
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
    version: str
    """Name of the version that answers."""
    settings: ServingSettings
    app_name: str
    """Serve application of that version's engine."""
    owns_ray: bool
    """True when stopping ends Ray too."""

    def deploy(self, model: ServedModel) -> None:
        """Let another version answer, without a request failing; returns when it does.

        Raises:
            MissingError: the folder holds no model.
            ServingError: the version could not be loaded; the present one goes on answering.
        """
        from ray import serve

        from deepicd.serving.engine import check_model, max_prompt_tokens

        check_model(model)
        max_prompt_tokens(model, self.settings)
        app_name = _engine_app_name(model)
        _run([_engine_target(model, self.settings, app_name)], app_name)
        _run([_gateway_target(self.settings, app_name, model.version)], app_name)
        old, self.app_name, self.version = self.app_name, app_name, model.version
        time.sleep(SETTLE_S)
        serve.delete(old)

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
    engine = settings.engine
    num_cpus = max(os.cpu_count() or 1, int(2 * engine.num_replicas * engine.num_cpus) + 1)
    owns_ray = connect(num_cpus=num_cpus)
    try:
        check_gpus(settings.engine, ray.cluster_resources().get("GPU", 0))
        _refuse_second_endpoint(serve)
        serve.start(
            proxy_location="HeadOnly",
            http_options={"host": settings.host, "port": settings.port},
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )
        app_name = _engine_app_name(model)
        targets = [
            _engine_target(model, settings, app_name),
            _gateway_target(settings, app_name, model.version),
        ]
        _run(targets, app_name)
        endpoint = Endpoint(_url(settings), model.version, settings, app_name, owns_ray)
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


def _engine_target(model: ServedModel, settings: ServingSettings, app_name: str) -> Any:
    from ray import serve

    from deepicd.serving.deployments import EngineDeployment

    engine = settings.engine
    deployment = EngineDeployment.options(  # type: ignore[attr-defined]
        num_replicas=engine.num_replicas,
        ray_actor_options={"num_cpus": engine.num_cpus, "num_gpus": engine.num_gpus},
    )
    model = model.model_copy(update={"path": model.path.resolve()})
    app = deployment.bind(model.model_dump(mode="json"), settings.model_dump(mode="json"))
    return serve.RunTarget(app, name=app_name, route_prefix=None)


def _gateway_target(settings: ServingSettings, app_name: str, version: str) -> Any:
    from ray import serve

    from deepicd.serving.deployments import GATEWAY_APP, GatewayDeployment

    deployment = GatewayDeployment.options(  # type: ignore[attr-defined]
        user_config={"app": app_name, "version": version},
        ray_actor_options={"num_cpus": 0},
        version="1",
        _internal=True,  # Serve keeps `version` to itself; with a new one the replica restarts
    )
    app = deployment.bind(settings.model_dump(mode="json"), read_tokens(settings))
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
