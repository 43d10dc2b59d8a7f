"""The routes: an ASGI application over a `Switch` (which engine answers now) and a prediction log.

In: HTTP requests. Out: typed replies, or vLLM's own for the OpenAI routes. No Ray and no vLLM here,
so the whole gateway runs in a test.

Decided here: a request keeps the engine that was chosen when it began, except that the champion
answers where a canary is down; version and role are in the headers `x-model-version` and
`x-model-role` of every generated reply, and the request's id, which decides between champion and
canary, in `x-request-id`; a shadow answers after the client has its reply, at most
`max_shadow` at a time, and is left out when it cannot keep up; a prediction log that cannot be
written is said in `/v1/monitor` and `/healthz`, and never costs a reply.
"""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, Literal, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

from deepicd import codes, scoring
from deepicd.errors import DeepICDError
from deepicd.records import ServedPrediction
from deepicd.serving.errors import (
    OPENAI_PATHS,
    RefusedError,
    explain_validation,
    refuse_too_long,
    timed_out,
)
from deepicd.serving.ingress.dashboard import add_page
from deepicd.serving.ingress.diagnosis import build_diagnosis
from deepicd.serving.ingress.middleware import ROLE_HEADER, AccessMiddleware, Tokens, internal_error
from deepicd.serving.ingress.prediction_log import AsyncPredictionLog
from deepicd.serving.ingress.registry_views import read_decisions, read_rollouts
from deepicd.serving.ingress.schemas import (
    Diagnoses,
    Diagnosis,
    DiagnosisRequest,
    LabelReply,
    LabelRequest,
    Refusal,
)
from deepicd.serving.metrics import MonitorView, Observe
from deepicd.serving.protocol import (
    MIN_CONSTRAINED_TOKENS,
    VERSION_HEADER,
    Choice,
    Engine,
    Generation,
    Head,
    Switch,
    TooLong,
)
from deepicd.serving.routing import CHAMPION, REQUEST_ID, SHADOW, request_id_of
from deepicd.serving.settings import ServingSettings

# Others are about the connection between gateway and engine, or set by the gateway itself.
_FORWARDED = ("content-type", "content-length", VERSION_HEADER)
Role = Literal["champion", "canary", "shadow"]
T = TypeVar("T")

logger = logging.getLogger("deepicd.serving")


class Gateway:
    """Handlers of the routes."""

    def __init__(self, switch: Switch, log: AsyncPredictionLog, settings: ServingSettings) -> None:
        self._switch = switch
        self._log = log
        self._settings = settings
        self._shadows: set[asyncio.Task[None]] = set()

    async def diagnose(
        self, body: DiagnosisRequest, request: Request, response: Response
    ) -> Diagnosis | Diagnoses:
        """Code one admission note, or each of a batch."""
        if body.min_confidence is not None and self._num_samples(body) == 0:
            raise RefusedError(
                "min_confidence needs samples, and this endpoint takes none by itself. Send "
                "num_samples.",
                status=422,
            )
        request_id = request_id_of(request.headers)
        # One choice for the whole batch: its notes must not be split between two versions.
        choice = self._switch.choose(request_id)
        try:
            reply = await self._diagnose(choice, body)
        except RefusedError as refused:
            choice = self._replace(choice, refused)
            reply = await self._diagnose(choice, body)
        response.headers.update(_headers(choice, request_id))
        if isinstance(reply, Diagnosis):
            # Weights may have been swapped since the choice: the reply knows whose answered.
            response.headers[VERSION_HEADER] = reply.model_version
        return reply

    def _replace(self, choice: Choice, refused: RefusedError) -> Choice:
        """The champion, in the place of a canary that is down; else the refusal stands."""
        # Below 500 the request itself is refused; that is no reason to ask the champion.
        if choice.role == CHAMPION or refused.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise refused
        return Choice(self._switch.champion(), CHAMPION)

    async def _diagnose(self, choice: Choice, body: DiagnosisRequest) -> Diagnosis | Diagnoses:
        if body.note is not None:
            return await self._answer(choice, body, body.note)
        answers = (self._try(choice, body, note) for note in body.notes or ())
        return Diagnoses(diagnoses=list(await asyncio.gather(*answers)))

    def _num_samples(self, body: DiagnosisRequest) -> int:
        asked = body.num_samples
        return self._settings.config.num_samples if asked is None else asked

    async def _generate(
        self, engine: Engine, body: DiagnosisRequest, note: str
    ) -> Generation | TooLong:
        asked = body.is_constrained
        is_constrained = self._settings.is_constrained if asked is None else asked
        max_response_tokens = self._settings.limits.max_response_tokens
        if is_constrained and max_response_tokens < MIN_CONSTRAINED_TOKENS:
            raise RefusedError(
                f"constrained answers need max_response_tokens >= {MIN_CONSTRAINED_TOKENS}, and "
                f"this endpoint has {max_response_tokens}. Send constrained = false.",
                status=422,
            )
        answer = engine.generate(note, self._num_samples(body), is_constrained=is_constrained)
        return await self._in_time(answer)

    async def _in_time(self, work: Awaitable[T]) -> T:
        """What is awaited, or a refusal when it takes too long; then it is cancelled."""
        patience_s = self._settings.request_timeout_s
        try:
            return await asyncio.wait_for(work, patience_s)
        except TimeoutError:
            raise timed_out(patience_s) from None

    async def _answer(self, choice: Choice, body: DiagnosisRequest, note: str) -> Diagnosis:
        generation = await self._generate(choice.engine, body, note)
        if isinstance(generation, TooLong):
            raise refuse_too_long(generation.num_prompt_tokens, generation.max_prompt_tokens)
        prediction_id = uuid.uuid4().hex
        reply = build_diagnosis(generation, body, note, prediction_id=prediction_id)
        await self._log.record(
            _served_prediction(reply, body, role=choice.role, generation=generation)
        )
        # A canary's note is not shadowed: the challenger would be compared with itself.
        if choice.role == CHAMPION:
            self._begin_shadow(body, note, prediction_id)
        return reply

    async def _try(self, choice: Choice, body: DiagnosisRequest, note: str) -> Diagnosis | Refusal:
        """A note that is refused costs a batch no other one; an engine that is down does."""
        try:
            return await self._answer(choice, body, note)
        except RefusedError as refused:
            if refused.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            return Refusal(status=refused.status, detail=refused.detail)

    def _begin_shadow(self, body: DiagnosisRequest, note: str, prediction_id: str) -> None:
        engine = self._switch.shadow()
        if engine is None or len(self._shadows) >= self._settings.max_shadow:
            return
        # The set keeps the task alive: the event loop itself holds tasks only weakly.
        task = asyncio.create_task(self._shadow(engine, body, note, prediction_id=prediction_id))
        self._shadows.add(task)
        task.add_done_callback(self._shadows.discard)

    async def _shadow(
        self, engine: Engine, body: DiagnosisRequest, note: str, *, prediction_id: str
    ) -> None:
        """Keep what the shadow answers to the same note; never costs a client anything."""
        try:
            generation = await self._generate(engine, body, note)
        except RefusedError:
            return  # its engine is down, and the endpoint's log says so
        if isinstance(generation, Generation):
            reply = build_diagnosis(generation, body, note, prediction_id=prediction_id)
            await self._log.record(
                _served_prediction(reply, body, role=SHADOW, generation=generation)
            )

    async def card(self) -> Response:
        """Model card of the version that answers."""
        engine = self._switch.champion()
        if (text := await engine.card()) is None:
            raise RefusedError("this version has no model card (README.md).", status=404)
        return Response(text, media_type="text/markdown", headers={VERSION_HEADER: engine.version})

    async def label(self, body: LabelRequest) -> LabelReply:
        """Keep the code that turned out to be right."""
        code = codes.normalise(body.code)
        if not codes.is_billable(code):
            raise RefusedError(
                "code: is not a billable ICD-10-CM code. Send one like I25.10, with or without "
                "its dot.",
                status=422,
            )
        if body.prediction_id is not None:
            outcome = await self._log.label(body.prediction_id, code)
        else:
            outcome = await self._log.label(body.admission_id or "", code, by="admission")
        return LabelReply(
            prediction_id=body.prediction_id,
            admission_id=body.admission_id,
            code=code,
            outcome=outcome,
        )

    async def monitor(self) -> dict[str, Any]:
        """Who is served, what was decided, how good it is, and whether that is being watched."""
        decisions = await asyncio.to_thread(read_decisions, self._settings.registry)
        view = await self.read_monitor()
        return {
            "status": view.status,
            "served": [asdict(served) for served in view.served],
            "decisions": decisions,
            **({} if view.report is None else view.report.as_json()),
        }

    async def read_monitor(self) -> MonitorView:
        """What the gauges show: the same report as `/v1/monitor`, before it becomes JSON."""
        report = await self._log.report()
        return MonitorView(self._log.status, self._switch.describe(), report)

    async def rollouts(self) -> dict[str, Any]:
        """What the champion's trial answered while it trained, as far as it was kept."""
        registry, version = self._settings.registry, self._switch.champion().version
        if registry is None:
            raise RefusedError(
                "this endpoint follows no registry (deepicd serve does).", status=404
            )
        try:
            return await asyncio.to_thread(
                read_rollouts, registry, version, has_prompts=self._settings.show_prompts
            )
        except (DeepICDError, OSError, ValueError, KeyError) as error:
            logger.error("rollouts cannot be read: %s", type(error).__name__)
            raise RefusedError("the trial's rollouts cannot be read.", status=404) from None

    async def health(self) -> dict[str, str]:
        """200 while the champion can answer."""
        engine = self._switch.champion()
        await engine.check_health()
        return {"status": "ok", "model_version": engine.version, "monitor": self._log.status}

    async def forward(self, request: Request) -> Response:
        """Hand an OpenAI request to vLLM and its reply back, piece by piece."""
        request_id, body = request_id_of(request.headers), await request.body()
        choice = self._switch.choose(request_id)
        try:
            head, pieces = await self._in_time(_begin(choice.engine, request, body))
        except RefusedError as refused:
            choice = self._replace(choice, refused)
            head, pieces = await self._in_time(_begin(choice.engine, request, body))
        # These win over ours below: the engine read its version under the lock of its weights.
        kept = {k: v for k, v in head.headers if k.lower() in _FORWARDED}
        return StreamingResponse(
            _bodies(pieces), head.status, headers={**_headers(choice, request_id), **kept}
        )

    async def retrieve(self, name: str) -> Response:
        """One entry of `/v1/models`, which vLLM's server has no route for."""
        pieces = self._switch.champion().forward("GET", "/v1/models", b"")
        body = b"".join([piece async for piece in pieces if isinstance(piece, bytes)])
        for entry in json.loads(body)["data"]:
            if entry["id"] == name:
                return JSONResponse(entry)
        raise RefusedError(
            "no model of that name answers; /v1/models lists those that do.", status=404
        )


async def _begin(
    engine: Engine, request: Request, body: bytes
) -> tuple[Head, AsyncIterator[Head | bytes]]:
    pieces = engine.forward(request.method, request.url.path, body)
    # The status must be known before a streaming response can begin.
    head = await anext(pieces, None)
    if not isinstance(head, Head):
        raise RefusedError("the engine gave no reply; try again", status=502)
    return head, pieces


def _headers(choice: Choice, request_id: str) -> dict[str, str]:
    return {
        VERSION_HEADER: choice.engine.version,
        ROLE_HEADER: choice.role,
        REQUEST_ID: request_id,
    }


def _served_prediction(
    reply: Diagnosis, body: DiagnosisRequest, *, role: Role, generation: Generation
) -> ServedPrediction:
    """What the prediction log keeps of a reply: no text."""
    known = generation.calibration
    calibration = known if scoring.is_calibrated(known, "chapter") else None
    return ServedPrediction(
        id=reply.prediction_id,
        version=reply.model_version,
        time=time.time(),
        code=reply.code,
        reason=reply.reason,
        role=role,
        confidence=reply.confidence,
        # An unusable answer is wrong for sure; else nobody knows where chapters are not calibrated.
        chapter_confidence=None if calibration is None else reply.confidence_chapter or 0.0,
        num_calibration=None if calibration is None else calibration.num_notes,
        num_prompt_tokens=reply.usage.prompt_tokens,
        admission_id=body.admission_id,
        subgroups={str(name): group for name, group in (body.subgroups or {}).items()},
    )


def build_app(
    gateway: Gateway,
    settings: ServingSettings,
    *,
    tokens: Tokens | None = None,
    observe: Observe | None = None,
) -> AccessMiddleware:
    """The whole gateway as one ASGI application; `observe` is told of every request that ended."""
    # FastAPI's own documentation pages load scripts from elsewhere.
    app = FastAPI(title="DeepICD Platform", docs_url=None, redoc_url=None)
    app.add_api_route("/healthz", gateway.health, methods=["GET"])
    app.add_api_route("/v1/diagnoses", gateway.diagnose, methods=["POST"])
    app.add_api_route("/v1/model-card", gateway.card, methods=["GET"], response_model=None)
    app.add_api_route("/v1/labels", gateway.label, methods=["POST"], status_code=202)
    app.add_api_route("/v1/monitor", gateway.monitor, methods=["GET"])
    app.add_api_route("/v1/rollouts", gateway.rollouts, methods=["GET"])
    for path in OPENAI_PATHS:
        method = "GET" if path == "/v1/models" else "POST"
        app.add_api_route(path, gateway.forward, methods=[method], response_model=None)
    # `path`, because a model's name may hold slashes.
    app.add_api_route("/v1/models/{name:path}", gateway.retrieve, methods=["GET"])
    add_page(app)
    app.add_exception_handler(RefusedError, _answer_problem)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_bug)
    return AccessMiddleware(
        app,
        settings=settings,
        tokens=tokens,
        observe=observe,
    )


async def _bodies(pieces: AsyncIterator[Head | bytes]) -> AsyncIterator[bytes]:
    # Closed as soon as the client is gone, not when collected: that is what ends the generation.
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
    ours = (
        "/v1/diagnoses",
        "/v1/model-card",
        "/v1/labels",
        "/v1/monitor",
        "/v1/rollouts",
        "/healthz",
    )
    detail = f"{error.detail}. Routes: {', '.join([*ours, *OPENAI_PATHS])}."
    return await _answer_problem(request, RefusedError(detail, status=error.status_code))


async def _answer_bug(request: Request, _: Exception) -> Response:
    return await _answer_problem(request, internal_error())
