"""One version of the model inside this process: vLLM's asynchronous engine and its OpenAI server.

In: a `ServedModel` and `ServingSettings`. Out: `VllmEngine`, which answers notes (`generate`) and
forwards OpenAI requests to vLLM's own FastAPI application (`forward`), so that streaming, sampling
parameters and error shapes are vLLM's and not a copy of them.

Decided here:
- Prompts of notes are token ids made by `prompts.PromptEncoder` with the tokeniser of the model's
  folder, over-long notes cut by the rule of training. vLLM never tokenises a note of the typed
  route.
- `ray.serve.llm` is not used: it fits one vLLM release only (another one than verl's GPU set has)
  and costs every process its imports.
- Nothing of a prompt is logged: request logging is off, and vLLM's handler of malformed bodies,
  which would repeat the body in its message, is replaced (`openai_app`).
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from deepicd.errors import ServingError
from deepicd.inference.engine_config import (
    make_async_engine,
    server_arguments,
    set_server_environment,
)
from deepicd.promotion.calibration_file import read_calibration
from deepicd.promotion.versions import CARD
from deepicd.prompts import PromptEncoder
from deepicd.records import Calibration
from deepicd.serving.engine.completions import AnswerGenerator
from deepicd.serving.engine.openai_app import build_openai_app, check_versions, rename_model
from deepicd.serving.engine.rwlock import RWLock
from deepicd.serving.engine.version_checks import (
    check_model,
    check_same_shape,
    check_weights,
    max_model_len,
    max_prompt_tokens,
)
from deepicd.serving.protocol import VERSION_HEADER, Generation, Head, TooLong
from deepicd.serving.settings import ServedModel, ServingSettings

_MODEL_ALIAS = "deepicd"
"""Model name that always means the version that answers, whatever its name."""
_PROBE = "CHIEF COMPLAINT: chest pain"
"""Note of the first answer, by which a version shows that it can."""


class VllmEngine:
    """vLLM with one model. Make it with `await VllmEngine.start(...)`."""

    def __init__(
        self, client: Any, app: Any, *, model: ServedModel, settings: ServingSettings
    ) -> None:
        self._client = client
        self._app = app
        self._settings = settings
        self._lock = RWLock()
        self._read(model)
        limits = replace(settings.limits, max_prompt_tokens=max_prompt_tokens(model, settings))
        self._encoder = PromptEncoder.of_model(model.path, limits)
        self._answers = AnswerGenerator(client, model.path, settings)

    def _read(self, model: ServedModel) -> None:
        """What comes with the weights."""
        self.version = model.version
        self._path = model.path
        self._calibration = read_calibration(model.path)

    @classmethod
    async def start(cls, model: ServedModel, settings: ServingSettings) -> "VllmEngine":
        """Load the model, build vLLM's application, and see that it answers.

        Raises:
            UpstreamError: the installed vLLM or Starlette has not been read.
            MissingError: the folder holds no model.
            ConfigError: the model's context is too short for the settings.
            CheckpointError: its calibration is broken.
            ServingError: vLLM could not load it, or its first answer is no number or takes too
                long.
        """
        check_versions()  # before minutes are spent on loading
        check_model(model)
        set_server_environment(settings.engine)
        arguments = engine_arguments(model, settings)
        try:
            client, engine_args = make_async_engine(arguments)
            app = await build_openai_app(client, engine_args)
        except (RuntimeError, ValueError, OSError) as error:
            raise ServingError(
                f"vLLM could not load version {model.version} from {model.path}: {error}. The "
                "engine's own log in Ray's session folder has the details."
            ) from error
        engine = cls(client, app, model=model, settings=settings)
        try:
            await engine.probe()
        except BaseException:
            # Cancelling too: vLLM's engine is a process of its own and would go on without us.
            engine.stop()
            raise
        return engine

    async def probe(self) -> None:
        """See that the model answers: with numbers, and in time.

        Raises:
            ServingError: it does not.
        """
        (prompt,) = self._encoder.encode([_PROBE])
        patience_s = self._settings.probe_timeout_s
        try:
            # Where even this note does not fit, any token shows whether weights compute numbers.
            is_sound = await asyncio.wait_for(
                self._answers.is_sound(prompt.token_ids or [0]), patience_s
            )
        except TimeoutError:
            raise ServingError(
                f"version {self.version} gave no answer to a short note within {patience_s:g} s. "
                "Raise probe_timeout_s, or give it a faster machine."
            ) from None
        if not is_sound:
            raise ServingError(
                f"version {self.version} computes no numbers: its first answer has NaN among its "
                "probabilities. Train it again."
            )

    async def swap(self, model: ServedModel) -> None:
        """Put another version's weights in the place of these; requests under way end before, and
        those that come meanwhile wait. After a failure the weights before answer again.

        Raises:
            ServingError: the two are not of one shape, the weights are not those of the version's
                manifest, it does not answer, or requests did not end.
        """
        check_model(model)
        check_same_shape(self._path, model.path)
        former = ServedModel(path=self._path, version=self.version)
        async with self._lock.write(self._settings.start_timeout_s):
            try:
                await self._load(model)
                await self.probe()
            except Exception as error:
                # Whatever failed, some weights may be new already: all former ones are loaded.
                await self._load(former)
                raise ServingError(f"version {model.version} was not swapped in: {error}") from None
        rename_model(self._app, former.version, model.version)

    async def _load(self, model: ServedModel) -> None:
        # Every worker reads the same files, so the first one's hashes speak for all.
        (read, *_) = await self._client.collective_rpc("swap_weights", args=(str(model.path),))
        # Cached keys and values are those of the old weights.
        await self._client.reset_prefix_cache()
        check_weights(model.path, read)
        self._read(model)

    async def generate(
        self, note: str, num_samples: int, *, is_constrained: bool = False
    ) -> Generation | TooLong:
        """Answer one note greedily and by sampling; both draw on one cached prompt."""
        (prompt,) = self._encoder.encode([note])
        ids = prompt.token_ids
        if ids is None:
            return TooLong(prompt.num_tokens, self._encoder.max_tokens)
        complete = self._answers.complete_constrained if is_constrained else self._answers.complete
        async with self._lock.read():
            # Together, so that vLLM computes the prompt once and both read it from its cache.
            greedy, sampled = await asyncio.gather(
                complete(ids, num_samples=1, temperature=0.0),
                complete(ids, num_samples=num_samples, temperature=self._settings.temperature),
            )
            # Still under the lock: the next swap changes both.
            version, calibration = self.version, self._calibration_of(num_samples)
        return Generation(
            version=version,
            text=greedy[0].text,
            samples=tuple(answer.text for answer in sampled),
            prompt_token_ids=tuple(ids),
            num_completion_tokens=sum(answer.num_tokens for answer in [*greedy, *sampled]),
            is_truncated=greedy[0].is_truncated,
            is_note_cut=prompt.is_cut,
            # It was measured on free answers; constrained ones are right at another rate.
            calibration=None if is_constrained else calibration,
        )

    def _calibration_of(self, num_samples: int) -> Calibration | None:
        """The version's own, where it was measured on answers drawn as these were."""
        calibration = self._calibration
        drawn = (num_samples, self._settings.temperature)
        is_same = (
            calibration is not None and (calibration.num_samples, calibration.temperature) == drawn
        )
        return calibration if is_same else None

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
            # vLLM refuses a body that is not declared as JSON.
            "headers": [(b"content-type", b"application/json"), (b"host", b"engine")],
            "client": ("127.0.0.1", 0),
            "server": ("engine", 80),
        }
        # The lock is held while the reply streams: a swap must not change weights in its middle.
        async with self._lock.read():
            version = (VERSION_HEADER, self.version)
            async for piece in call_asgi(self._app, scope, body):
                if isinstance(piece, Head):
                    yield Head(piece.status, (*piece.headers, version))
                else:
                    yield piece

    async def card(self) -> str | None:
        """See `protocol.Engine`."""
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
    # None ends the queue, also after an error, which `await task` then raises.
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
        # Also when the caller closes this generator early: vLLM ends a request whose task is
        # cancelled.
        task.cancel()


def engine_arguments(model: ServedModel, settings: ServingSettings) -> dict[str, Any]:
    """Keyword arguments of vLLM's engine for one version."""
    return server_arguments(
        settings.engine,
        model=model.path,
        # In this order: vLLM puts its first name into replies, and clients shall see the version.
        names=[model.version, _MODEL_ALIAS],
        max_model_len=max_model_len(model, settings),
        seed=settings.seed,
    )
