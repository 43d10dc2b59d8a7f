"""The endpoint as Ray Serve's declarative configuration, for clusters that are not ours to start.

In: who answers, and `ServingSettings`. Out: what `serve deploy` reads, and the functions that it
names to build the two applications. Decided here: an engine is an application of its own, named by
its version, and the gateway is pointed at it by `user_config`, so a file with a further engine
restarts nothing, and a file with another pointer only moves it. Tokens are read from the
environment where Serve builds the gateway, and are never in the file.
"""

from typing import Any

from deepicd.serving.applications import engine_app, gateway_app
from deepicd.serving.deployments import ENGINE_APP_PREFIX, GATEWAY_APP
from deepicd.serving.routing import Target, Targets
from deepicd.serving.settings import ServedModel, ServingSettings

_HERE = "deepicd.serving.declared"


def declare(champion: ServedModel, settings: ServingSettings) -> dict[str, Any]:
    """Configuration of an endpoint with one version, JSON-ready."""
    target = Target(app=f"{ENGINE_APP_PREFIX}{champion.version}", version=champion.version)
    model = champion.model_copy(update={"path": champion.path.resolve()})
    given = settings.model_dump(mode="json")
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": settings.host, "port": settings.port},
        "logging_config": {"log_level": "WARNING", "enable_access_log": False},
        "applications": [
            {
                "name": target.app,
                "route_prefix": None,
                "import_path": f"{_HERE}:build_engine",
                "args": {"model": model.model_dump(mode="json"), "settings": given},
            },
            {
                "name": GATEWAY_APP,
                "route_prefix": "/",
                "import_path": f"{_HERE}:build_gateway",
                "args": {"settings": given},
                "deployments": [
                    {
                        "name": "gateway",
                        "user_config": Targets(champion=target).model_dump(mode="json"),
                    }
                ],
            },
        ],
    }


def build_engine(args: dict[str, Any]) -> Any:
    """Application of one version; Serve calls this."""
    model = ServedModel.model_validate(args["model"])
    return engine_app(model, ServingSettings.model_validate(args["settings"]))


def build_gateway(args: dict[str, Any]) -> Any:
    """Application of the front; Serve calls this, and points it by `user_config`.

    Raises:
        ConfigError: another interface than loopback without a token in the environment.
    """
    return gateway_app(ServingSettings.model_validate(args["settings"]))
