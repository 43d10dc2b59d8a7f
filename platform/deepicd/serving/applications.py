"""The applications that Ray Serve runs for the endpoint, and how they are started.

In: `ServedModel`s, `ServingSettings`, and who answers. Out: applications, run until they are
healthy. Decided here: every version is an application of its own, named after it; code versions are
held constant, so that another `user_config` reconfigures a replica and does not restart it.
"""

import os
import re
from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import uuid4

from deepicd.config import Experiment
from deepicd.errors import ConfigError, Fault, ServingError, faults_of
from deepicd.serving.held_version import options_with_held_version
from deepicd.serving.ingress.middleware import ADMIN, LABEL, QUERY, hash_token
from deepicd.serving.routing import ENGINE_APP_PREFIX, GATEWAY_APP, Backend, TrafficSplit
from deepicd.serving.settings import ServedModel, ServingSettings

_HERE = "deepicd.serving.applications"

_ADMIN_VARIABLE = "DEEPICD_TOKEN"
TOKEN_VARIABLES = {
    _ADMIN_VARIABLE: ADMIN,
    "DEEPICD_QUERY_TOKEN": QUERY,
    "DEEPICD_LABEL_TOKEN": LABEL,
}
"""Environment variable → scope of the token that it holds."""


def find_faults(experiment: Experiment) -> Iterator[Fault]:
    """An endpoint that others could reach and that asks for no token."""
    settings = ServingSettings.of_experiment(experiment)
    yield from faults_of(partial(read_tokens, settings), "serving.host", settings.config.host)


def read_tokens(settings: ServingSettings) -> dict[str, str]:
    """Hash → scope of the tokens that clients may send; empty when none is asked for.

    Raises:
        ConfigError: no token may do everything, where the interface is not loopback or a token of
            a narrower scope is set; or two scopes share one.
    """
    values = {scope: os.environ.get(name, "").strip() for name, scope in TOKEN_VARIABLES.items()}
    tokens = {hash_token(token): scope for scope, token in values.items() if token}
    # Equal tokens have one hash, so one of them has fallen out of the mapping.
    if len(tokens) < sum(map(bool, values.values())):
        raise ConfigError(f"two of {', '.join(TOKEN_VARIABLES)} hold one token; give each its own.")
    if not values[ADMIN] and (tokens or not settings.is_loopback):
        reason = (
            "a token is set" if tokens else f"{settings.config.host} can be reached from elsewhere"
        )
        raise ConfigError(
            f"{reason}, and {_ADMIN_VARIABLE} is not set; set it to a long random value, or serve "
            "on 127.0.0.1 without tokens"
        )
    return tokens


def _engine_app(
    model: ServedModel, settings: ServingSettings, *, has_held_version: bool = False
) -> Any:
    """Serve application of one version; with a held version another model reconfigures it."""
    from deepicd.serving.deployments import EngineDeployment

    engine = settings.engine
    # A replica's working directory is not ours.
    model = model.model_copy(update={"path": model.path.resolve()})
    deployment = _with_options(
        EngineDeployment,
        has_held_version,
        num_replicas=engine.num_replicas,
        ray_actor_options={"num_cpus": engine.num_cpus, "num_gpus": engine.num_gpus},
        user_config=model.model_dump(mode="json"),
    )
    return deployment.bind(settings.model_dump(mode="json"))


def _gateway_app(settings: ServingSettings, traffic: TrafficSplit | None = None) -> Any:
    """Serve application of the gateway. With a traffic split its version is held, so that another
    split reconfigures it; without one `serve deploy` gives it as `user_config`.

    Raises:
        ConfigError: another interface than loopback without a token.
    """
    from deepicd.serving.deployments import GatewayDeployment

    options: dict[str, Any] = {"ray_actor_options": {"num_cpus": 0}}
    if traffic is not None:
        options["user_config"] = traffic.model_dump(mode="json")
    deployment = _with_options(GatewayDeployment, traffic is not None, **options)
    return deployment.bind(settings.model_dump(mode="json"), read_tokens(settings))


def _with_options(deployment: Any, has_held_version: bool, **options: Any) -> Any:
    if has_held_version:
        return options_with_held_version(deployment, **options)
    return deployment.options(**options)


def engine_run_target(model: ServedModel, settings: ServingSettings, app_name: str) -> Any:
    """What `run_apps` takes of one version."""
    from ray import serve

    app = _engine_app(model, settings, has_held_version=True)
    # No route: an engine is reached by Serve's handle only, behind the gateway's checks.
    return serve.RunTarget(app, name=app_name, route_prefix=None)


def gateway_run_target(settings: ServingSettings, traffic: TrafficSplit) -> Any:
    """What `run_apps` takes of the gateway, with a traffic split."""
    from ray import serve

    return serve.RunTarget(_gateway_app(settings, traffic), name=GATEWAY_APP, route_prefix="/")


def run_apps(run_targets: list[Any], engine_app: str) -> None:
    """Deploy applications; returns when they are healthy.

    Raises:
        ServingError: one could not be started; says why, where it is the one named.
    """
    from ray import serve

    try:
        serve.run_many(run_targets)
    except (RuntimeError, TimeoutError) as error:
        message = _failure_of(engine_app) or str(error)
        raise ServingError(
            f"version could not be started: {message.rstrip('.')}. The version before, if any, "
            "goes on answering."
        ) from error


def delete_app(app_name: str) -> None:
    """Drain an application and end it, if it is there."""
    from ray import serve

    if app_name in serve.status().applications:
        serve.delete(app_name)


def _failure_of(app_name: str) -> str | None:
    from ray import serve

    app = serve.status().applications.get(app_name)
    if app is None:
        return None
    # Serve tells the failure of a replica as the text of a remote traceback; the last line that
    # names one of our errors is the sentence for people.
    messages = [app.message, *(d.message for d in app.deployments.values())]
    lines = [line.strip() for message in messages for line in message.splitlines()]
    own = [line for line in lines if line.startswith("deepicd.errors.")]
    return own[-1].partition(": ")[2] if own else None


def engine_app_name(model: ServedModel) -> str:
    """A new name for an application of that version."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", model.version)
    return f"{ENGINE_APP_PREFIX}{name}-{uuid4().hex[:6]}"


def declare(champion: ServedModel, settings: ServingSettings) -> dict[str, Any]:
    """Configuration of an endpoint with one version, JSON-ready."""
    backend = Backend(app=f"{ENGINE_APP_PREFIX}{champion.version}", version=champion.version)
    model = champion.model_copy(update={"path": champion.path.resolve()})
    arguments = settings.model_dump(mode="json")
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": settings.config.host, "port": settings.config.port},
        "logging_config": {"log_level": "WARNING", "enable_access_log": False},
        "applications": [
            {
                "name": backend.app,
                "route_prefix": None,
                "import_path": f"{_HERE}:build_engine",
                "args": {"model": model.model_dump(mode="json"), "settings": arguments},
            },
            {
                "name": GATEWAY_APP,
                "route_prefix": "/",
                "import_path": f"{_HERE}:build_gateway",
                "args": {"settings": arguments},
                "deployments": [
                    {
                        "name": "gateway",
                        "user_config": TrafficSplit(champion=backend).model_dump(mode="json"),
                    }
                ],
            },
        ],
    }


def build_engine(args: dict[str, Any]) -> Any:
    """Application of one version; Serve calls this."""
    model = ServedModel.model_validate(args["model"])
    return _engine_app(model, ServingSettings.model_validate(args["settings"]))


def build_gateway(args: dict[str, Any]) -> Any:
    """Application of the gateway; Serve calls this, and gives the traffic split as `user_config`.

    Raises:
        ConfigError: another interface than loopback without a token in the environment.
    """
    return _gateway_app(ServingSettings.model_validate(args["settings"]))
