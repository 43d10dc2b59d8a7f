"""vLLM's own OpenAI server as an ASGI application in this process.

In: a started engine of vLLM. Out: vLLM's FastAPI application, which `engine/vllm.py` forwards
requests to. Decided here: everything that reaches into vLLM's server and into Starlette behind it
stands in this file. vLLM offers no public way to build its server around an engine that exists, nor
to change the name of a model that is loaded; Starlette none to add an exception handler to an
application that has been built. `check_versions` names the versions whose source was read.
"""

from argparse import Namespace
from typing import Any

from deepicd.prompts import CHAT_TEMPLATE
from deepicd.serving.errors import explain_validation, openai_error
from deepicd.upstream import require_version

_VLLM = ("0.29.0+cpu", "0.29.0")
"""Of requirements/cpu.lock and requirements/gpu.lock."""


def check_versions() -> None:
    """Raise UpstreamError when vLLM or Starlette is not of a version that was read."""
    require_version("vllm", _VLLM, "serving vLLM's OpenAI routes from an engine of ours")
    require_version("starlette", "1.10.0", "replacing a handler of an application that was built")


async def build_openai_app(client: Any, engine_args: Any) -> Any:
    """vLLM's application around the engine `client`, which was made of `engine_args`.

    Raises:
        UpstreamError: see `check_versions`.
    """
    check_versions()
    from vllm.entrypoints.launchers.cli_args import FrontendArgs
    from vllm.entrypoints.openai.api_server import build_app, init_app_state

    frontend_args = FrontendArgs(chat_template=CHAT_TEMPLATE)
    # vLLM's server has one command line for both, so it looks for all options in one namespace.
    args = Namespace(**(vars(frontend_args) | vars(engine_args)))
    tasks = await client.get_supported_tasks()
    app = build_app(args, supported_tasks=tasks, model_config=client.model_config)
    await init_app_state(client, app.state, args, supported_tasks=tasks)
    _hide_bodies(app)
    return app


def rename_model(app: Any, former: str, present: str) -> None:
    """Tell vLLM's server the new name of the model whose weights were swapped in.

    The server keeps one list of names, which its routes and its registry share; it is changed in
    place, so that both see it.
    """
    check_versions()
    for path in app.state.openai_serving_models.base_model_paths:
        if path.name == former:
            path.name = present


def _hide_bodies(app: Any) -> None:
    """Answer a malformed body with the rule it broke; vLLM's handler would repeat the body."""
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse

    async def refuse(_: Any, error: Any) -> Any:
        return JSONResponse(openai_error(400, explain_validation(error.errors())), 400)

    app.exception_handler(RequestValidationError)(refuse)
    # Starlette copies the handlers into its middleware stack when that is first built, and vLLM has
    # built it already. Without a stack it builds a new one at the next request.
    app.middleware_stack = None
