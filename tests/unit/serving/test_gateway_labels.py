"""Late labels, the prediction log and the monitor's route."""

import asyncio
import json

import httpx
import pytest
from gateway_client import (
    GatewayClient,
    ScriptedEngine,
    ScriptedSwitch,
)

from deepicd.serving.ingress.gateway import Gateway, build_app
from deepicd.serving.ingress.prediction_log import AsyncPredictionLog
from deepicd.serving.settings import ServingSettings


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


def test_an_admission_may_be_a_whole_number_and_no_fraction():
    client = GatewayClient()
    client.post("/v1/diagnoses", {"note": "Pain.", "admission_id": 20001})
    assert [kept.admission_id for kept in client.log.kept] == ["20001"]
    assert client.post("/v1/labels", {"admission_id": 20001, "code": "I10"}).status_code == 202
    assert client.log.labels == {"admission 20001": "I10"}
    for value in (20001.0, "20001.0", "NaN", "null", True, [7], "1e+07"):
        for path, body in (("diagnoses", {"note": "Pain."}), ("labels", {"code": "I10"})):
            reply = client.post(f"/v1/{path}", {**body, "admission_id": value})
            assert reply.status_code == 422
            assert "admission_id: must be text or a whole number; it is" in reply.text


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
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1"
        ) as http:
            label = {"prediction_id": "a", "code": "I10"}
            return await http.post("/v1/labels", json=label), await http.get("/v1/monitor")

    label, monitor = asyncio.run(ask())
    assert label.status_code == 503 and "prediction log" in label.json()["detail"]
    assert monitor.json()["status"] == "off" and "windows" not in monitor.json()
