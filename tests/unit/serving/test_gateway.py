"""The routes, run for real in one process over an engine scripted at the protocol's seam."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from deepicd.config import ServingConfig
from deepicd.monitoring.prediction_log import PredictionLog
from deepicd.records import Calibration, Curve, Limits, ServedPrediction
from deepicd.serving.errors import RefusedError
from deepicd.serving.ingress.gateway import Gateway, build_app
from deepicd.serving.ingress.middleware import hash_token
from deepicd.serving.ingress.prediction_log import AsyncPredictionLog
from deepicd.serving.protocol import Choice, Generation, Head, ServedVersion, TooLong
from deepicd.serving.settings import ServingSettings

RIGHT = "Chest pain on effort.</think>\n<diagnosis>I25.10</diagnosis>"
OTHER = "Pressure.</think>\n<diagnosis>I10</diagnosis>"
PLANTED = "zebrafinch-sonata"
LIMITS = Limits(2048, 1024)


class ScriptedEngine:
    """Answers with what it was given; keeps what it was asked."""

    def __init__(self, text: str = RIGHT, samples: tuple[str, ...] = (RIGHT, OTHER, "no code")):
        self.version = "v1"
        self.text = text
        self.samples = samples
        self.asked: list[tuple[str, int]] = []
        self.constrained: list[bool] = []
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None
        self.readme: str | None = "# v1"
        self.calibration: Calibration | None = None

    async def generate(
        self, note: str, num_samples: int, *, is_constrained: bool = False
    ) -> Generation | TooLong:
        self.asked.append((note, num_samples))
        self.constrained.append(is_constrained)
        if self.error is not None:
            raise self.error
        if self.gate is not None:
            await self.gate.wait()
        if len(note) > 1000:
            return TooLong(999, 64)
        samples = self.samples[:num_samples]
        num_tokens = 5 * (1 + len(samples))
        return Generation(
            self.text,
            samples,
            (1, 2, 3),
            num_tokens,
            False,
            version=self.version,
            calibration=self.calibration,
        )

    async def forward(self, method: str, path: str, body: bytes) -> AsyncIterator[Head | bytes]:
        if self.error is not None:
            raise self.error
        yield Head(200, (("content-type", "text/event-stream"), ("server", "inner")))
        if path == "/v1/models":
            yield json.dumps({"data": [{"id": "v1"}, {"id": "deepicd"}]}).encode()
            return
        for piece in (method, path, json.loads(body)["model"]):
            yield f"data: {piece}\n\n".encode()

    async def card(self) -> str | None:
        return self.readme

    async def check_health(self) -> None:
        if self.error is not None:
            raise self.error


class ScriptedSwitch:
    """Champion, and a challenger where a test sets one."""

    def __init__(self, champion: ScriptedEngine) -> None:
        self.engine = champion
        self.canary: ScriptedEngine | None = None
        self.shadowing: ScriptedEngine | None = None

    def choose(self, request_id: str) -> Choice:
        if self.canary is not None and request_id.startswith("canary"):
            return Choice(self.canary, "canary")
        return Choice(self.engine, "champion")

    def champion(self) -> ScriptedEngine:
        return self.engine

    def shadow(self) -> ScriptedEngine | None:
        return self.shadowing

    def describe(self) -> list[ServedVersion]:
        return [ServedVersion(self.engine.version, "champion", 100.0)]


class ObservedLog(PredictionLog):
    """A real prediction log that remembers what it was given, and whose disk may be full."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.kept: list[ServedPrediction] = []
        self.labels: dict[str, str] = {}
        self.is_full = False

    def record(self, prediction: ServedPrediction) -> None:
        if self.is_full:
            raise OSError(28, "no space left")
        super().record(prediction)
        self.kept.append(prediction)

    @property
    def rows(self) -> list[tuple[str, str, str | None, str | None]]:
        return [(kept.id, kept.version, kept.code, kept.reason) for kept in self.kept]

    def label(self, key, code, *, time=None, by="prediction") -> str:
        outcome = super().label(key, code, time=time, by=by)
        self.labels[f"{by} {key}"] = code
        return outcome


class GatewayClient:
    """Client of a gateway over a scripted engine and a log."""

    def __init__(
        self,
        *,
        tokens: dict[str, str] | None = None,
        limits: Limits = LIMITS,
        max_concurrent: int = 32,
        max_note_bytes: int = 1_000_000,
        **settings,
    ) -> None:
        self.engine = ScriptedEngine()
        self.switch = ScriptedSwitch(self.engine)
        self.folder = TemporaryDirectory()
        self.log = ObservedLog(Path(self.folder.name))
        self.observed: list[tuple[str, int]] = []
        config = ServingConfig(max_concurrent=max_concurrent, max_note_bytes=max_note_bytes)
        given = ServingSettings(config=config, limits=limits, **settings)
        app = build_app(
            Gateway(self.switch, AsyncPredictionLog(self.log), given),
            given,
            observe=lambda role, status, seconds: self.observed.append((role, status)),
            tokens={hash_token(token): scope for token, scope in (tokens or {}).items()},
        )
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://test", trust_env=False
        )

    def post(self, path: str, body: object, **options) -> httpx.Response:
        return asyncio.run(self.http.post(path, json=body, **options))

    def get(self, path: str, **options) -> httpx.Response:
        return asyncio.run(self.http.get(path, **options))


def test_a_note_gets_the_facts_of_its_code_and_is_logged_by_id():
    client = GatewayClient()
    reply = client.post("/v1/diagnoses", {"note": "Chest pain."})
    assert reply.status_code == 200 and reply.headers["x-model-version"] == "v1"
    body = reply.json()
    assert body["code"] == "I2510" and body["code_dotted"] == "I25.10" and body["exists"]
    assert (body["chapter"], body["block"], body["category"]) == ("IX", "I20-I25", "I25")
    assert "atherosclerotic" in body["title"].lower() and "circulatory" in body["chapter_title"]
    assert body["path"] == ["IX", "I20-I25", "I25", "I251", "I2510"]
    assert body["billable"] and body["release"] == 2026
    assert body["reasoning"] == "Chest pain on effort." and body["parsable"]
    assert body["reason"] is None and body["model_version"] == "v1"
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 20}
    assert client.log.rows == [(body["prediction_id"], "v1", "I2510", None)]


def test_confidence_is_the_share_of_all_answers_that_name_the_code():
    body = GatewayClient().post("/v1/diagnoses", {"note": "Pain."}).json()
    assert body["confidence"] == 0.5  # greedy and one of three samples
    assert [(c["code"], c["share"]) for c in body["top_k"]] == [("I2510", 0.5), ("I10", 0.25)]


def test_a_request_that_takes_too_long_is_given_up_and_the_next_one_is_answered():
    client = GatewayClient(request_timeout_s=0.05)
    client.engine.gate = asyncio.Event()
    refused = client.post("/v1/diagnoses", {"note": "Pain."})
    assert refused.status_code == 504 and "request_timeout_s" in refused.json()["detail"]
    client.engine.gate = None
    assert client.post("/v1/diagnoses", {"note": "Pain."}).status_code == 200


KNOWN = Calibration(
    curves={
        "code": Curve((0.0, 1.0), (0.0, 0.5)), "category": Curve((0.0, 1.0), (0.1, 0.7)),
        "chapter": Curve((0.0, 1.0), (0.2, 0.9)),
    },
    num_notes=77,
)  # fmt: skip


def test_a_calibrated_version_says_how_probable_its_code_and_its_level_are():
    client = GatewayClient()
    client.engine.calibration = KNOWN
    body = client.post("/v1/diagnoses", {"note": "Pain.", "min_confidence": 0.5}).json()
    assert body["is_calibrated"] and body["confidence"] == 0.25  # half of the answers name it
    assert body["confidence_chapter"] == pytest.approx(0.2 + 0.7 * 0.75)
    assert body["top_k"][0]["share"] == 0.5
    assert (body["agreed"]["level"], body["agreed"]["share"]) == ("chapter", 0.75)
    assert body["agreed"]["confidence"] == pytest.approx(0.2 + 0.7 * 0.75)
    client.engine.text = "no code"
    unusable = client.post("/v1/diagnoses", {"note": "Pain."}).json()
    assert unusable["confidence"] is None and not unusable["is_calibrated"]
    kept = [(row.chapter_confidence, row.num_calibration) for row in client.log.kept]
    assert kept == [(pytest.approx(0.725), 77), (0.0, 77)]


def test_without_a_calibration_the_confidence_is_a_share_and_says_so():
    client = GatewayClient()
    body = client.post("/v1/diagnoses", {"note": "Pain."}).json()
    assert not body["is_calibrated"]
    assert body["confidence"] == 0.5 and body["confidence_chapter"] == 0.75
    assert [row.chapter_confidence for row in client.log.kept] == [None]


def test_without_samples_there_is_no_confidence_but_the_code():
    client = GatewayClient()
    body = client.post("/v1/diagnoses", {"note": "Pain.", "num_samples": 0}).json()
    assert body["confidence"] is None and [c["code"] for c in body["top_k"]] == ["I2510"]
    assert client.engine.asked == [("Pain.", 0)]


def test_the_reasoning_is_left_out_and_the_token_ids_put_in_on_request():
    body = {"note": "Pain.", "include_reasoning": False, "include_token_ids": True}
    reply = GatewayClient().post("/v1/diagnoses", body).json()
    assert reply["reasoning"] is None and reply["prompt_token_ids"] == [1, 2, 3]


def test_a_batch_is_answered_in_order_and_a_refused_note_costs_no_other():
    client = GatewayClient()
    body = {"notes": ["Pain.", PLANTED * 100, "Fever."], "num_samples": 1}
    first, refused, last = client.post("/v1/diagnoses", body).json()["diagnoses"]
    assert (first["code"], last["code"]) == ("I2510", "I2510")
    assert first["prediction_id"] != last["prediction_id"] and len(client.log.rows) == 2
    assert refused["status"] == 400 and "999 tokens; at most 64" in refused["detail"]
    assert [asked[0] for asked in client.engine.asked] == body["notes"]


def test_a_batch_whose_engine_is_down_is_refused_as_a_whole():
    client = GatewayClient()
    client.engine.error = RefusedError("restarting", status=503)
    assert client.post("/v1/diagnoses", {"notes": ["a", "b"]}).status_code == 503


def test_the_model_card_of_the_version_that_answers_is_there():
    client = GatewayClient()
    reply = client.get("/v1/model-card")
    assert (reply.text, reply.headers["x-model-version"]) == ("# v1", "v1")
    assert reply.headers["content-type"].startswith("text/markdown")
    client.engine.readme = None
    assert client.get("/v1/model-card").status_code == 404


SAME_CATEGORY = "Angina.</think>\n<diagnosis>I25.110</diagnosis>"
SAME_CHAPTER = OTHER
ELSEWHERE = "Cough.</think>\n<diagnosis>J18.9</diagnosis>"


@pytest.mark.parametrize(
    ("samples", "least", "agreed"),
    [
        ((RIGHT, RIGHT, OTHER), 0.75, ("code", "I2510", 0.75)),
        ((RIGHT, SAME_CATEGORY, SAME_CATEGORY), 0.75, ("category", "I25", 1.0)),
        ((SAME_CATEGORY, SAME_CHAPTER, ELSEWHERE), 0.75, ("chapter", "IX", 0.75)),
        ((ELSEWHERE, "no code", "no code"), 0.5, (None, None, None)),
    ],
)
def test_what_enough_answers_agree_on_is_named_at_its_level(samples, least, agreed):
    client = GatewayClient()
    client.engine.samples = samples
    body = {"note": "Pain.", "min_confidence": least, "num_samples": 3}
    found = client.post("/v1/diagnoses", body).json()["agreed"]
    assert (found["level"], found["node"], found["share"]) == agreed
    assert bool(found["title"]) == (found["level"] is not None)


def test_agreement_is_given_on_request_only_and_needs_samples():
    client = GatewayClient()
    assert client.post("/v1/diagnoses", {"note": "Pain."}).json()["agreed"] is None
    body = {"note": "Pain.", "min_confidence": 0.5, "num_samples": 0}
    refused = client.post("/v1/diagnoses", body)
    assert refused.status_code == 422 and "needs samples" in refused.text


@pytest.mark.parametrize("name", ["evidence", "include_evidence"])
def test_evidence_is_a_span_of_the_note_and_given_on_request_only(name):
    note = "HPI: chest pain  on effort since Monday."
    reply = GatewayClient().post("/v1/diagnoses", {"note": note, name: True}).json()
    assert reply["evidence"] == [{"text": "chest pain  on effort", "start": 5, "end": 26}]
    assert GatewayClient().post("/v1/diagnoses", {"note": note}).json()["evidence"] is None


def test_an_unusable_answer_is_a_reply_with_its_reason():
    client = GatewayClient()
    client.engine.text = "Hm.</think>\n<diagnosis>I25.99</diagnosis>"
    body = client.post("/v1/diagnoses", {"note": "Pain."}).json()
    assert body["code"] is None and body["title"] is None and not body["parsable"]
    assert body["reason"] == "unknown_code" and body["raw_code"] == "I2599" and not body["exists"]
    assert body["confidence"] is None and body["path"] is None
    assert not body["billable"] and body["release"] is None
    assert client.log.rows == [(body["prediction_id"], "v1", None, "unknown_code")]


@pytest.mark.parametrize(
    ("body", "status", "rule"),
    [
        ({"note": ""}, 422, "note: must hold text"),
        ({"note": "  \n"}, 422, "note: must hold text"),
        ({"note": "a\x00b"}, 422, "looks like a binary file"),
        ({"note": 7}, 422, "note: must be a string"),
        ({}, 422, "body: must hold either note, an admission note, or notes"),
        ({"note": "x", "notes": ["x"]}, 422, "body: must hold either note"),
        ({"notes": []}, 422, "notes: too short"),
        ({"notes": ["x"] * 65}, 422, "notes: too long"),
        ({"notes": ["x", " "]}, 422, "notes.1: must hold text"),
        ({"note": "x", "noet": PLANTED}, 422, "noet: is not a known field"),
        ({"note": "x", "num_samples": 1000}, 422, "num_samples: less than equal"),
        ([PLANTED], 422, "body: must be a JSON object"),
        ({"note": PLANTED * 100}, 400, "999 tokens; at most 64"),
    ],
)
def test_a_bad_body_is_refused_by_rule_without_repeating_it(body, status, rule):
    reply = GatewayClient().post("/v1/diagnoses", body)
    assert reply.status_code == status and rule in reply.json()["detail"]
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["status"] == status and PLANTED not in reply.text


def test_broken_json_is_refused_with_400():
    client = GatewayClient()
    reply = asyncio.run(
        client.http.post(
            "/v1/diagnoses",
            content=b'{"note": ' + PLANTED.encode(),
            headers={"content-type": "application/json"},
        )
    )
    assert reply.status_code == 400 and "not valid JSON" in reply.json()["detail"]
    assert PLANTED not in reply.text


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_over_the_limit_is_refused_before_it_is_parsed(is_chunked):
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 10

    client = GatewayClient(max_note_bytes=100)
    content = pieces() if is_chunked else b"x" * 200
    reply = asyncio.run(client.http.post("/v1/diagnoses", content=content))
    assert reply.status_code == 413 and "at most 100 bytes" in reply.json()["detail"]
    assert not client.engine.asked


def test_an_unknown_route_names_the_known_ones_and_a_wrong_method_is_405():
    client = GatewayClient()
    reply = client.post("/v1/diagnosis", {"note": "x"})
    assert reply.status_code == 404 and "/v1/diagnoses" in reply.json()["detail"]
    assert client.get("/v1/diagnoses").status_code == 405


def test_openai_routes_pass_through_piece_by_piece():
    reply = GatewayClient().post("/v1/chat/completions", {"model": "m"})
    assert reply.text == "data: POST\n\ndata: /v1/chat/completions\n\ndata: m\n\n"
    assert reply.headers["x-model-version"] == "v1" and "server" not in reply.headers
    assert reply.headers["content-type"] == "text/event-stream"


def test_one_model_is_found_by_name():
    client = GatewayClient()
    assert client.get("/v1/models/deepicd").json() == {"id": "deepicd"}
    missing = client.get("/v1/models/v2")
    assert missing.status_code == 404 and missing.json()["error"]["code"] == 404


def test_refusals_of_openai_routes_have_openais_shape():
    reply = GatewayClient(max_note_bytes=10).post("/v1/completions", {"prompt": "x" * 50})
    assert reply.status_code == 413
    assert reply.json()["error"]["code"] == 413 and "at most 10 bytes" in reply.text


def test_a_token_is_asked_for_everywhere_but_on_healthz():
    client = GatewayClient(tokens={"s3cret": "admin"})
    assert client.get("/healthz").status_code == 200
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic s3cret"}):
        reply = client.post("/v1/diagnoses", {"note": "x"}, headers=headers)
        assert reply.status_code == 401 and reply.headers["www-authenticate"] == "Bearer"
    good = {"authorization": "Bearer s3cret"}
    assert client.post("/v1/diagnoses", {"note": "x"}, headers=good).status_code == 200


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [("admin", {"query", "label", "monitor"}), ("query", {"query"}), ("label", {"label"})],
)
def test_a_token_opens_the_routes_of_its_scope_only(scope, allowed):
    client = GatewayClient(tokens={"mine": scope, "other": "admin"})
    options = {"headers": {"authorization": "Bearer mine"}}
    label = {"prediction_id": "1", "code": "I25.10"}
    statuses = {
        "query": client.post("/v1/diagnoses", {"note": "x"}, **options).status_code,
        "label": client.post("/v1/labels", label, **options).status_code,
        "monitor": client.get("/v1/monitor", **options).status_code,
    }
    assert {name for name, status in statuses.items() if status < 300} == allowed
    assert {status for name, status in statuses.items() if name not in allowed} <= {403}


def test_too_many_in_flight_get_429_and_a_place_is_given_back():
    client = GatewayClient(max_concurrent=2)

    async def run() -> list[int]:
        client.engine.gate = asyncio.Event()
        body = {"note": "x"}
        held = [asyncio.create_task(client.http.post("/v1/diagnoses", json=body)) for _ in range(2)]
        while len(client.engine.asked) < 2:
            await asyncio.sleep(0)
        refused = await client.http.post("/v1/diagnoses", json=body)
        healthy = await client.http.get("/healthz")
        assert refused.headers["retry-after"] == "1" and "max_concurrent" in refused.text
        client.engine.gate.set()
        done = [reply.status_code for reply in await asyncio.gather(*held)]
        after = await client.http.post("/v1/diagnoses", json=body)
        return [refused.status_code, healthy.status_code, *done, after.status_code]

    assert asyncio.run(run()) == [429, 200, 200, 200, 200]


def test_a_bug_is_logged_by_type_and_place_only(caplog):
    client = GatewayClient()
    client.engine.error = ValueError(f"could not handle {PLANTED}")
    with caplog.at_level(logging.DEBUG):
        reply = client.post("/v1/diagnoses", {"note": PLANTED})
    assert reply.status_code == 500 and PLANTED not in reply.text
    assert "ValueError in /v1/diagnoses at" in caplog.text and PLANTED not in caplog.text


def test_labels_are_kept_in_canonical_form():
    client = GatewayClient()
    reply = client.post("/v1/labels", {"prediction_id": "abc", "code": "i25.10"})
    assert reply.status_code == 202 and client.log.labels == {"prediction abc": "I2510"}
    assert reply.json() == {
        "prediction_id": "abc", "admission_id": None, "code": "I2510", "outcome": "waiting",
    }  # fmt: skip


@pytest.mark.parametrize("code", ["I25", "I25.99", "pain", " "])
def test_a_label_must_be_a_billable_code(code):
    client = GatewayClient()
    reply = client.post("/v1/labels", {"prediction_id": "abc", "code": code})
    assert reply.status_code == 422 and "billable" in reply.json()["detail"]
    assert not client.log.labels


def test_monitor_gives_the_logs_report_who_is_served_and_what_was_decided(tmp_path):
    models = tmp_path / "registry"
    models.mkdir()
    first = {"number": 1, "time": 5.0, "kind": "promoted", "version": "v1", "previous": ""}
    line = json.dumps({**first, "details": {"reason": "won", "champion": None}})
    (models / "history.jsonl").write_text(line + "\n")
    client = GatewayClient(registry=models)
    client.post("/v1/diagnoses", {"note": "Pain."})
    body = client.get("/v1/monitor").json()
    (window,) = body["windows"]
    assert body["status"] == "on" and (window["version"], window["num_predictions"]) == ("v1", 1)
    assert {"counts", "overall", "pairs", "drift", "subgroups", "alarms"} <= {*body}
    assert body["served"] == [{"version": "v1", "role": "champion", "percent": 100.0}]
    (decision,) = body["decisions"]
    assert decision == {
        "number": 1, "time": 5.0, "kind": "promoted", "version": "v1", "reason": "won",
    }  # fmt: skip
    (models / "history.jsonl").write_text("no event\n")
    assert client.get("/v1/monitor").json()["decisions"] == []


def test_constrained_answers_are_asked_for_by_request_or_by_setting():
    client = GatewayClient(is_constrained=True)
    client.post("/v1/diagnoses", {"note": "Pain."})
    client.post("/v1/diagnoses", {"note": "Pain.", "constrained": False})
    assert client.engine.constrained == [True, False]
    short = GatewayClient(limits=Limits(2048, 24))
    reply = short.post("/v1/diagnoses", {"note": "Pain.", "constrained": True})
    assert reply.status_code == 422 and "max_response_tokens >= 56" in reply.json()["detail"]


def test_a_label_may_come_by_the_admission():
    client = GatewayClient()
    body = {"note": "Pain.", "admission_id": "hadm-7", "subgroups": {"sex": "F"}}
    client.post("/v1/diagnoses", body)
    (kept,) = client.log.kept
    assert (kept.admission_id, kept.subgroups, kept.role) == ("hadm-7", {"sex": "F"}, "champion")
    reply = client.post("/v1/labels", {"admission_id": "hadm-7", "code": "I10"})
    assert reply.status_code == 202 and client.log.labels == {"admission hadm-7": "I10"}
    both = {"admission_id": "hadm-7", "prediction_id": "p", "code": "I10"}
    assert client.post("/v1/labels", both).status_code == 422


@pytest.mark.parametrize(
    "odd",
    [
        {"admission_id": f"{PLANTED} of a note"},
        {"subgroups": {"zodiac": "virgo"}},
        {"subgroups": {"sex": PLANTED * 10}},
        {"note": None, "notes": ["a", "b"], "admission_id": "hadm-7"},
    ],
)
def test_what_could_be_text_is_no_identifier_and_is_not_repeated(odd):
    reply = GatewayClient().post("/v1/diagnoses", {"note": "Pain.", **odd})
    assert reply.status_code == 422 and PLANTED not in reply.text


def test_a_canary_answers_its_share_under_its_own_name():
    client = GatewayClient()
    client.switch.canary = ScriptedEngine(OTHER)
    client.switch.canary.version = "v2"
    reply = client.post("/v1/diagnoses", {"note": "P."}, headers={"x-request-id": "canary-1"})
    assert reply.json()["model_version"] == "v2" and reply.headers["x-model-role"] == "canary"
    assert reply.headers["x-request-id"] == "canary-1"
    other = client.post("/v1/diagnoses", {"note": "P."}, headers={"x-request-id": "no word!"})
    assert other.headers["x-model-role"] == "champion"
    assert other.headers["x-request-id"] != "no word!"
    assert [kept.role for kept in client.log.kept] == ["canary", "champion"]
    assert client.observed == [("canary", 200), ("champion", 200)]


@pytest.mark.parametrize("path", ["/v1/diagnoses", "/v1/chat/completions"])
def test_the_champion_answers_for_a_canary_that_is_down(path):
    client = GatewayClient()
    client.switch.canary = ScriptedEngine()
    client.switch.canary.error = RefusedError("down", status=503)
    body = {"note": "P."} if path == "/v1/diagnoses" else {"model": "deepicd"}
    reply = client.post(path, body, headers={"x-request-id": "canary-1"})
    assert reply.status_code == 200 and reply.headers["x-model-role"] == "champion"
    client.engine.error = RefusedError("down too", status=503)
    assert client.post(path, body, headers={"x-request-id": "canary-1"}).status_code == 503


def test_a_shadow_answers_the_same_note_under_the_same_id_and_costs_nothing_when_it_fails():
    client = GatewayClient(max_shadow=1)
    client.switch.shadowing = shadow = ScriptedEngine(OTHER)
    shadow.version = "v2"

    async def ask(text: str) -> dict[str, Any]:
        reply = await client.http.post("/v1/diagnoses", json={"note": text})
        await asyncio.sleep(0.01)
        return reply.json()

    body = asyncio.run(ask("Pain."))
    assert [(kept.version, kept.role, kept.code) for kept in client.log.kept] == [
        ("v1", "champion", "I2510"), ("v2", "shadow", "I10"),
    ]  # fmt: skip
    assert {kept.id for kept in client.log.kept} == {body["prediction_id"]}
    assert shadow.asked == client.engine.asked
    shadow.error = RefusedError("down", status=503)
    assert asyncio.run(ask("Again."))["code"] == "I2510" and len(client.log.kept) == 3


def test_a_full_disk_costs_no_reply_and_is_said():
    client = GatewayClient()
    client.log.is_full = True
    assert client.post("/v1/diagnoses", {"note": "x"}).status_code == 200
    assert client.get("/v1/monitor").json()["status"] == "blind"
    assert client.get("/healthz").json()["monitor"] == "blind"
    client.log.is_full = False
    client.post("/v1/diagnoses", {"note": "x"})
    assert client.get("/healthz").json() == {
        "status": "ok", "model_version": "v1", "monitor": "on",
    }  # fmt: skip


def test_without_a_log_labels_are_refused_and_monitor_says_off():
    engine = ScriptedEngine()
    settings = ServingSettings()
    app = build_app(Gateway(ScriptedSwitch(engine), AsyncPredictionLog(None), settings), settings)

    async def ask() -> tuple[httpx.Response, httpx.Response]:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://test"
        ) as http:
            label = {"prediction_id": "a", "code": "I10"}
            return await http.post("/v1/labels", json=label), await http.get("/v1/monitor")

    label, monitor = asyncio.run(ask())
    assert label.status_code == 503 and "prediction log" in label.json()["detail"]
    assert monitor.json()["status"] == "off" and "windows" not in monitor.json()
