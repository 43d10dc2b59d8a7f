"""What the gateway refuses, with which status, and that it repeats no text."""

import asyncio
import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from gateway_client import (
    PLANTED,
    GatewayClient,
)

from deepicd.serving.errors import RefusedError
from deepicd.serving.protocol import Head


def test_a_request_that_takes_too_long_is_given_up_and_the_next_one_is_answered():
    client = GatewayClient(request_timeout_s=0.05)
    client.engine.gate = asyncio.Event()
    refused = client.post("/v1/diagnoses", {"note": "Pain."})
    assert refused.status_code == 504 and "request_timeout_s" in refused.json()["detail"]
    client.engine.gate = None
    assert client.post("/v1/diagnoses", {"note": "Pain."}).status_code == 200


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
    headers = {"content-type": "application/json"}
    reply = asyncio.run(client.http.post("/v1/diagnoses", content=content, headers=headers))
    assert reply.status_code == 413 and "at most 100 bytes" in reply.json()["detail"]
    assert not client.engine.asked


def test_an_unknown_route_names_the_known_ones_and_a_wrong_method_is_405():
    client = GatewayClient()
    reply = client.post("/v1/diagnosis", {"note": "x"})
    assert reply.status_code == 404 and "/v1/diagnoses" in reply.json()["detail"]
    assert client.get("/v1/diagnoses").status_code == 405


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


def test_a_client_that_sends_no_body_gives_its_place_back():
    client = GatewayClient(max_concurrent=1, body_timeout_s=0.05)

    async def never() -> AsyncIterator[bytes]:
        yield b'{"note": '
        await asyncio.sleep(60)

    async def run() -> list[httpx.Response]:
        headers = {"content-type": "application/json"}
        held = await client.http.post("/v1/diagnoses", content=never(), headers=headers)
        return [held, await client.http.post("/v1/diagnoses", json={"note": "x"})]

    held, after = asyncio.run(run())
    assert held.status_code == 408 and "0.05 s" in held.text and after.status_code == 200


def test_an_endless_reply_ends_and_gives_its_place_back():
    GatewayClient().post("/v1/diagnoses", {"note": "x"})  # what is read at the first note is there
    client = GatewayClient(max_concurrent=1, reply_timeout_s=1)

    async def endless(method: str, path: str, body: bytes) -> AsyncIterator[Head | bytes]:
        yield Head(200, (("content-type", "text/event-stream"),))
        while True:
            await asyncio.sleep(0.01)
            yield b"data: x\n\n"

    client.engine.forward = endless

    async def run() -> httpx.Response:
        with pytest.raises(RefusedError, match="reply_timeout_s"):
            await client.http.post("/v1/completions", json={"model": "v1"})
        return await client.http.post("/v1/diagnoses", json={"note": "x"})

    assert asyncio.run(run()).status_code == 200
