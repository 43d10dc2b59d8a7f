"""The routes: an ASGI application over a `Switch` (which engine answers now) and a prediction log.

In: HTTP requests. Out: typed replies, or vLLM's own for the OpenAI routes. No Ray and no vLLM here,
so the whole front runs in a test.

Decided here: a request keeps the engine that was current when it began; the name of the version is
in the header `x-model-version` of every generated reply; a prediction log that cannot be written is
said in `/v1/monitor` and `/healthz`, and never costs a reply.
"""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

from deepicd import codes
from deepicd.records import ServedPrediction
from deepicd.serving.guard import Guard, Tokens, internal_error
from deepicd.serving.keeper import LogKeeper
from deepicd.serving.problems import OPENAI_PATHS, RefusedError, explain_validation
from deepicd.serving.protocols import Engine, Head, Switch, TooLong
from deepicd.serving.replies import (
    Diagnoses,
    Diagnosis,
    DiagnosisRequest,
    LabelReply,
    LabelRequest,
    Refusal,
    build_diagnosis,
)
from deepicd.serving.settings import ServingSettings

VERSION_HEADER = "x-model-version"


class Gateway:
    """Handlers of the routes."""

    def __init__(self, switch: Switch, keeper: LogKeeper, settings: ServingSettings) -> None:
        self._switch = switch
        self._keeper = keeper
        self._settings = settings

    async def diagnose(
        self, request: DiagnosisRequest, response: Response
    ) -> Diagnosis | Diagnoses:
        """Code one admission note, or each of a batch."""
        if request.min_confidence is not None and self._num_samples(request) == 0:
            raise RefusedError(
                "min_confidence needs samples, and this endpoint takes none by itself. Send "
                "num_samples.",
                status=422,
            )
        engine = self._switch.current()
        response.headers[VERSION_HEADER] = engine.version
        if request.note is not None:
            return await self._answer(engine, request, request.note)
        answers = (self._try(engine, request, note) for note in request.notes or ())
        return Diagnoses(diagnoses=list(await asyncio.gather(*answers)))

    def _num_samples(self, request: DiagnosisRequest) -> int:
        wanted = request.num_samples
        return self._settings.num_samples if wanted is None else wanted

    async def _answer(self, engine: Engine, request: DiagnosisRequest, note: str) -> Diagnosis:
        generation = await engine.generate(note, self._num_samples(request))
        if isinstance(generation, TooLong):
            raise refuse_too_long(generation)
        prediction_id = uuid.uuid4().hex
        reply = build_diagnosis(
            generation, request, note, version=engine.version, prediction_id=prediction_id
        )
        await self._keeper.record(
            ServedPrediction(
                id=prediction_id,
                version=engine.version,
                time=time.time(),
                code=reply.code,
                reason=reply.reason,
                confidence=reply.confidence,
                num_prompt_tokens=reply.usage.prompt_tokens,
            )
        )
        return reply

    async def _try(
        self, engine: Engine, request: DiagnosisRequest, note: str
    ) -> Diagnosis | Refusal:
        """A note that is refused costs a batch no other one; an engine that is down does."""
        try:
            return await self._answer(engine, request, note)
        except RefusedError as refused:
            if refused.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            return Refusal(status=refused.status, detail=refused.detail)

    async def card(self) -> Response:
        """Model card of the version that answers."""
        engine = self._switch.current()
        if (text := await engine.card()) is None:
            raise RefusedError("this version has no model card (README.md).", status=404)
        return Response(text, media_type="text/markdown", headers={VERSION_HEADER: engine.version})

    async def label(self, request: LabelRequest) -> LabelReply:
        """Keep the code that turned out to be right."""
        code = codes.normalise(request.code)
        if not codes.is_billable(code):
            raise RefusedError(
                "code: is not a billable ICD-10-CM code. Send one like I25.10, with or without "
                "its dot.",
                status=422,
            )
        outcome = await self._keeper.label(request.prediction_id, code)
        return LabelReply(prediction_id=request.prediction_id, code=code, outcome=outcome)

    async def monitor(self) -> dict[str, Any]:
        """Hierarchical F1 by window and version, and whether predictions are being kept."""
        return {"status": self._keeper.status, "windows": await self._keeper.windows()}

    async def health(self) -> dict[str, str]:
        """200 while the current version can answer."""
        engine = self._switch.current()
        await engine.check_health()
        return {"status": "ok", "model_version": engine.version, "monitor": self._keeper.status}

    async def forward(self, request: Request) -> Response:
        """Hand an OpenAI request to vLLM and its reply back, piece by piece."""
        engine = self._switch.current()
        pieces = engine.forward(request.method, request.url.path, await request.body())
        head = await anext(pieces, None)
        if not isinstance(head, Head):
            raise RefusedError("the engine gave no reply; try again", status=502)
        kept = {k: v for k, v in head.headers if k.lower() in ("content-type", "content-length")}
        return StreamingResponse(
            _bodies(pieces), head.status, headers={**kept, VERSION_HEADER: engine.version}
        )

    async def retrieve(self, name: str) -> Response:
        """One entry of `/v1/models`, which vLLM's server has no route for."""
        pieces = self._switch.current().forward("GET", "/v1/models", b"")
        body = b"".join([piece async for piece in pieces if isinstance(piece, bytes)])
        for entry in json.loads(body)["data"]:
            if entry["id"] == name:
                return JSONResponse(entry)
        raise RefusedError(
            "no model of that name answers; /v1/models lists those that do.", status=404
        )


def refuse_too_long(note: TooLong) -> RefusedError:
    """The training rule, said to the client."""
    return RefusedError(
        f"note: its prompt has {note.num_prompt_tokens} tokens; at most {note.max_prompt_tokens} "
        "are accepted, as in training, where longer notes are left out (data.overlong = 'filter'). "
        "Send the sections up to the physical exam only, or shorten the history.",
        status=400,
    )


def build_app(
    switch: Switch, keeper: LogKeeper, settings: ServingSettings, *, tokens: Tokens | None = None
) -> Guard:
    """The whole front as one ASGI application."""
    gateway = Gateway(switch, keeper, settings)
    app = FastAPI(title="DeepICD Platform", docs_url=None, redoc_url=None)
    app.add_api_route("/healthz", gateway.health, methods=["GET"])
    app.add_api_route("/v1/diagnoses", gateway.diagnose, methods=["POST"])
    app.add_api_route("/v1/model-card", gateway.card, methods=["GET"], response_model=None)
    app.add_api_route("/v1/labels", gateway.label, methods=["POST"], status_code=202)
    app.add_api_route("/v1/monitor", gateway.monitor, methods=["GET"])
    for path in OPENAI_PATHS:
        method = "GET" if path == "/v1/models" else "POST"
        app.add_api_route(path, gateway.forward, methods=[method], response_model=None)
    app.add_api_route("/v1/models/{name:path}", gateway.retrieve, methods=["GET"])
    app.add_exception_handler(RefusedError, _answer_problem)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_bug)
    return Guard(
        app,
        max_concurrent=settings.max_concurrent,
        max_body_bytes=settings.max_body_bytes,
        tokens=tokens,
    )


async def _bodies(pieces: AsyncIterator[Head | bytes]) -> AsyncIterator[bytes]:
    async with aclosing(pieces) as open_pieces:  # type: ignore[type-var]
        async for piece in open_pieces:
            if isinstance(piece, bytes):
                yield piece


async def _answer_problem(request: Request, problem: Any) -> Response:
    path = request.url.path
    return JSONResponse(
        problem.body(path),
        problem.status,
        headers=problem.headers,
        media_type=problem.media_type(path),
    )


async def _answer_invalid(request: Request, error: Any) -> Response:
    errors = error.errors()
    status = 400 if any(e["type"] == "json_invalid" for e in errors) else 422
    return await _answer_problem(request, RefusedError(explain_validation(errors), status=status))


async def _answer_http(request: Request, error: Any) -> Response:
    ours = ("/v1/diagnoses", "/v1/model-card", "/v1/labels", "/v1/monitor", "/healthz")
    detail = f"{error.detail}. Routes: {', '.join([*ours, *OPENAI_PATHS])}."
    return await _answer_problem(request, RefusedError(detail, status=error.status_code))


async def _answer_bug(request: Request, _: Exception) -> Response:
    return await _answer_problem(request, internal_error())


def unavailable(version: str) -> RefusedError:
    """The engine cannot answer now; Serve is restarting it."""
    return RefusedError(
        f"version {version} cannot answer at the moment; its engine is being restarted. Try again "
        "in a few seconds.",
        status=503,
        headers={"retry-after": "5"},
    )


def not_ready() -> RefusedError:
    """No version has been deployed yet."""
    return RefusedError(
        "no version answers yet; the first one is being loaded. Try again in a few seconds.",
        status=503,
        headers={"retry-after": "5"},
    )
