"""One version of the model inside this process: vLLM's asynchronous engine and its OpenAI server.

In: a `ServedModel` and `ServingSettings`. Out: `VllmEngine`, which answers notes (`generate`) and
forwards OpenAI requests to vLLM's own FastAPI application (`forward`), so that streaming, sampling
parameters and error shapes are vLLM's and not a copy of them.

Decided here:
- Prompts of notes are token ids made by `prompts.PromptEncoder` with the tokeniser of the model's
  folder, over-long notes cut by the rule of training. vLLM never tokenises a note of the typed
  route.
- `ray.serve.llm` is not used: it fits one vLLM release only (another one than verl's GPU set has)
  and costs every process its imports. vLLM's `build_app`/`init_app_state` exist in both sets.
- Nothing of a prompt is logged: request logging is off, and the handler of malformed bodies, which
  would repeat the body in its message, is replaced.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any

from deepicd.errors import CapacityError, ConfigError, MissingError, ServingError
from deepicd.promotion.calibration import read_calibration
from deepicd.promotion.registry import CARD
from deepicd.prompts import CHAT_TEMPLATE, PromptEncoder
from deepicd.records import Calibration, Limits
from deepicd.serving.completions import Answers
from deepicd.serving.problems import explain_validation, openai_error
from deepicd.serving.protocols import Generation, Head, TooLong
from deepicd.serving.settings import EngineSettings, ServedModel, ServingSettings

MODEL_ALIAS = "deepicd"
"""Model name that always means the version that answers, whatever its name."""
MIN_BATCHED_TOKENS = 2048
"""Prompt tokens that the CPU engine takes in one step, at least."""


class VllmEngine:
    """vLLM with one model. Make it with `await VllmEngine.start(...)`."""

    def __init__(
        self, client: Any, app: Any, *, model: ServedModel, settings: ServingSettings
    ) -> None:
        self.version = model.version
        self._path = model.path
        self._client = client
        self._app = app
        self._settings = settings
        longest = max_prompt_tokens(model, settings)
        limits = Limits(longest, settings.max_response_tokens, settings.overlong)
        self._encoder = PromptEncoder.of_model(model.path, limits)
        self._answers = Answers(client, model.path, settings)
        self._calibration = read_calibration(model.path)

    @classmethod
    async def start(cls, model: ServedModel, settings: ServingSettings) -> "VllmEngine":
        """Load the model and build vLLM's application.

        Raises:
            MissingError: the folder holds no model.
            ConfigError: the model's context is too short for the settings.
            ServingError: vLLM could not load it.
        """
        check_model(model)
        arguments = engine_arguments(model, settings)
        set_environment(settings.engine)
        try:
            client, app = await _start_vllm(arguments)
        except (RuntimeError, ValueError, OSError) as error:
            raise ServingError(
                f"vLLM could not load version {model.version} from {model.path}: {error}. The "
                "engine's own log in Ray's session folder has the details."
            ) from error
        return cls(client, app, model=model, settings=settings)

    async def generate(
        self, note: str, num_samples: int, *, is_constrained: bool = False
    ) -> Generation | TooLong:
        """Answer one note greedily and by sampling; both draw on one cached prompt."""
        (prompt,) = self._encoder.encode([note])
        ids = prompt.token_ids
        if ids is None:
            return TooLong(prompt.num_tokens, self._encoder.max_tokens)
        complete = self._answers.complete_constrained if is_constrained else self._answers.complete
        greedy, sampled = await asyncio.gather(
            complete(ids, num_samples=1, temperature=0.0),
            complete(ids, num_samples=num_samples, temperature=self._settings.temperature),
        )
        return Generation(
            text=greedy[0].text,
            samples=tuple(answer.text for answer in sampled),
            prompt_token_ids=tuple(ids),
            num_completion_tokens=sum(answer.num_tokens for answer in [*greedy, *sampled]),
            is_truncated=greedy[0].is_truncated,
            is_note_cut=prompt.is_cut,
            calibration=None if is_constrained else self._calibration_of(num_samples),
        )

    def _calibration_of(self, num_samples: int) -> Calibration | None:
        """The version's own, where it was measured on answers drawn as these were."""
        found = self._calibration
        drawn = (num_samples, self._settings.temperature)
        is_same = found is not None and (found.num_samples, found.temperature) == drawn
        return found if is_same else None

    async def forward(self, method: str, path: str, body: bytes) -> AsyncIterator[Head | bytes]:
        """Reply of vLLM's OpenAI server; closing the iterator cancels the generation."""
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json"), (b"host", b"engine")],
            "client": ("127.0.0.1", 0),
            "server": ("engine", 80),
        }
        async for piece in call_asgi(self._app, scope, body):
            yield piece

    async def card(self) -> str | None:
        """See `protocols.Engine`."""
        file = self._path / CARD
        return file.read_text(encoding="utf-8") if file.is_file() else None

    async def check_health(self) -> None:
        """Raise when the engine's process is gone."""
        await self._client.check_health()

    def stop(self) -> None:
        """End the engine's process at once; Serve has drained it before."""
        self._client.shutdown(timeout=0.0)


async def call_asgi(app: Any, scope: Mapping[str, Any], body: bytes) -> AsyncIterator[Head | bytes]:
    """Run one request through an ASGI application in this process and yield its reply piecewise."""
    messages: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    is_body_sent = False

    async def receive() -> dict[str, Any]:
        nonlocal is_body_sent
        if is_body_sent:
            await asyncio.Event().wait()  # a disconnect is told by cancelling the task
        is_body_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def run() -> None:
        try:
            await app(dict(scope), receive, messages.put)
        finally:
            messages.put_nowait(None)

    task = asyncio.create_task(run())
    try:
        while (message := await messages.get()) is not None:
            if message["type"] == "http.response.start":
                headers = [
                    (k.decode("latin-1"), v.decode("latin-1")) for k, v in message["headers"]
                ]
                yield Head(message["status"], tuple(headers))
            elif message.get("body"):
                yield message["body"]
        await task
    finally:
        task.cancel()


def check_model(model: ServedModel) -> None:
    """Raise MissingError unless the folder looks like a model."""
    for name in ("config.json", "tokenizer.json"):
        if not (model.path / name).is_file():
            raise MissingError(
                f"version {model.version} has no {name} in {model.path}. Give the folder of an "
                "exported model, or verify the registry."
            )


def max_model_len(model: ServedModel, settings: ServingSettings) -> int:
    """Context of the engine in tokens: what the settings ask for, at most what the model has."""
    config = json.loads((model.path / "config.json").read_text())
    wanted = settings.max_prompt_tokens + settings.max_response_tokens
    return min(wanted, int(config.get("max_position_embeddings", wanted)))


def max_prompt_tokens(model: ServedModel, settings: ServingSettings) -> int:
    """Longest prompt that leaves room for a whole answer.

    Raises:
        ConfigError: no room is left.
    """
    room = max_model_len(model, settings) - settings.max_response_tokens
    if room < 1:
        raise ConfigError(
            f"version {model.version} has a context of {max_model_len(model, settings)} tokens, "
            f"and max_response_tokens is {settings.max_response_tokens}. Lower it."
        )
    return min(settings.max_prompt_tokens, room)


def engine_arguments(model: ServedModel, settings: ServingSettings) -> dict[str, Any]:
    """Keyword arguments of vLLM's `AsyncEngineArgs`."""
    engine = settings.engine
    arguments: dict[str, Any] = {
        "model": str(model.path),
        "served_model_name": [model.version, MODEL_ALIAS],
        "dtype": engine.dtype,
        "enforce_eager": engine.enforce_eager,
        "max_model_len": max_model_len(model, settings),
        "max_num_seqs": engine.max_num_seqs,
        "tensor_parallel_size": engine.tensor_parallel_size,
        "seed": settings.seed,
        "enable_log_requests": False,
        "disable_log_stats": False,
    }
    if engine.kv_cache_bytes is not None:
        arguments["kv_cache_memory_bytes"] = engine.kv_cache_bytes
    else:
        arguments["gpu_memory_utilization"] = engine.gpu_memory_utilization
    if engine.device == "cpu":
        arguments |= {
            "distributed_executor_backend": "uni",
            # A seeded request whose prompt is cut in pieces kills vLLM's CPU engine ("CPU Generator
            # does not use offset"), and any client may send a seed: never cut a prompt.
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(MIN_BATCHED_TOKENS, max_model_len(model, settings)),
        }
    return arguments


def set_environment(engine: EngineSettings) -> None:
    """What vLLM reads from the environment; must come before its first import."""
    os.environ.update(
        HF_HUB_OFFLINE="1",
        TRANSFORMERS_OFFLINE="1",
        VLLM_NO_USAGE_STATS="1",
        VLLM_DO_NOT_TRACK="1",
        VLLM_LOGGING_LEVEL="WARNING",
    )
    if engine.device == "cpu":
        os.environ.update(
            VLLM_TARGET_DEVICE="cpu",
            VLLM_ENABLE_V1_MULTIPROCESSING="0",  # lets the engine's process hold the worker too
        )
        os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)  # would outrank kv_cache_bytes


async def _start_vllm(arguments: dict[str, Any]) -> tuple[Any, Any]:
    from argparse import Namespace

    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.openai.api_server import build_app, init_app_state
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger

    engine_args = AsyncEngineArgs(**arguments)
    client = AsyncLLM.from_vllm_config(
        engine_args.create_engine_config(),
        stat_loggers=[RayPrometheusStatLogger],
        enable_log_requests=False,
    )
    frontend_args = _frontend_args_class()(chat_template=CHAT_TEMPLATE)
    args = Namespace(**(vars(frontend_args) | vars(engine_args)))
    tasks = await client.get_supported_tasks()
    app = build_app(args, supported_tasks=tasks, model_config=client.model_config)
    await init_app_state(client, app.state, args, supported_tasks=tasks)
    _hide_bodies(app)
    return client, app


def _frontend_args_class() -> Any:
    try:
        from vllm.entrypoints.launchers.cli_args import FrontendArgs  # since vLLM 0.27
    except ImportError:
        from vllm.entrypoints.openai.cli_args import FrontendArgs
    return FrontendArgs


def _hide_bodies(app: Any) -> None:
    """Answer a malformed body with the rule it broke, and not with the body."""
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse

    async def refuse(_: Any, error: Any) -> Any:
        return JSONResponse(openai_error(400, explain_validation(error.errors())), 400)

    app.exception_handler(RequestValidationError)(refuse)
    app.middleware_stack = None  # built by vLLM already; Starlette builds it anew


def check_gpus(engine: EngineSettings, num_gpus: float) -> None:
    """Raise CapacityError when the cluster has fewer GPUs than one engine needs."""
    if engine.num_gpus > num_gpus:
        raise CapacityError(
            f"one engine needs {engine.num_gpus} GPUs (engine.tensor_parallel_size); the cluster "
            f"has {num_gpus:g}. Lower it, or serve with the cpu profile."
        )
