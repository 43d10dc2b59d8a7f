"""The routes of diagnoses and of OpenAI, champion, canary and shadow."""

import asyncio
from typing import Any

import pytest
from gateway_client import (
    OTHER,
    PLANTED,
    GatewayClient,
    ScriptedEngine,
)

from deepicd.records import Limits
from deepicd.serving.errors import RefusedError


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


def test_constrained_answers_are_asked_for_by_request_or_by_setting():
    client = GatewayClient(is_constrained=True)
    client.post("/v1/diagnoses", {"note": "Pain."})
    client.post("/v1/diagnoses", {"note": "Pain.", "constrained": False})
    assert client.engine.constrained == [True, False]
    short = GatewayClient(limits=Limits(2048, 24))
    reply = short.post("/v1/diagnoses", {"note": "Pain.", "constrained": True})
    assert reply.status_code == 422 and "max_response_tokens >= 56" in reply.json()["detail"]


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
