"""Refusals in both forms, and the rules that a broken body is told; nothing that was sent."""

import pickle

import pytest
from pydantic import ValidationError

from deepicd.serving.errors import (
    OPENAI_PATHS,
    RefusedError,
    explain_validation,
    not_ready,
    openai_error,
    refuse_too_long,
    timed_out,
    unavailable,
)
from deepicd.serving.ingress.schemas import DiagnosisRequest, LabelRequest

PLANTED = "zebrafinch-sonata"


def rules_broken_by(schema: type, body: object) -> str:
    with pytest.raises(ValidationError, match="validation error") as caught:
        schema.model_validate(body)  # type: ignore[attr-defined]
    return explain_validation(caught.value.errors())


@pytest.mark.parametrize(
    ("schema", "body", "rule"),
    [
        (DiagnosisRequest, {"note": 7}, "note: must be a string"),
        (DiagnosisRequest, {"notes": PLANTED}, "notes: must be a list"),
        (DiagnosisRequest, {"note": "x", "more": PLANTED}, "more: is not a known field"),
        (DiagnosisRequest, {"note": "x", "num_samples": 65}, "num_samples: less than equal"),
        (DiagnosisRequest, {"note": "x", "min_confidence": 0}, "min_confidence: greater than"),
        (DiagnosisRequest, {"notes": ["x", 1]}, "notes.1: must be a string"),
        (
            DiagnosisRequest,
            {"note": "x", "subgroups": {"sex": ""}},
            "subgroups.sex: string pattern",
        ),
        (LabelRequest, {"prediction_id": "p"}, "code: is required"),
        (LabelRequest, {"code": "I10"}, "body: must hold either prediction_id or admission_id"),
        (LabelRequest, {"prediction_id": "a b", "code": "I10"}, "prediction_id: string pattern"),
    ],
)
def test_a_broken_body_is_told_field_and_rule(schema, body, rule):
    told = rules_broken_by(schema, body)
    assert rule in told and PLANTED not in told


def test_a_rule_that_several_fields_break_is_told_for_each_once():
    told = rules_broken_by(DiagnosisRequest, {"notes": [1, 2, 2]})
    assert told.split("; ") == [f"notes.{place}: must be a string" for place in range(3)]
    assert explain_validation([]) == "the body breaks the route's schema"


@pytest.mark.parametrize("path", OPENAI_PATHS)
def test_openai_routes_have_openais_form(path):
    refused = RefusedError("no", status=429)
    assert refused.media_type(path) == "application/json"
    assert refused.body(path) == {
        "error": {"message": "no", "type": "invalid_request_error", "param": None, "code": 429}
    }


@pytest.mark.parametrize("path", ["/v1/diagnoses", "/v1/labels", "/healthz", "/nowhere"])
def test_every_other_route_has_a_problem_detail(path):
    refused = RefusedError("no", status=413)
    assert refused.media_type(path) == "application/problem+json"
    body = refused.body(path)
    assert (body["status"], body["detail"], body["type"]) == (413, "no", "about:blank")
    assert body["title"] in {"Request Entity Too Large", "Content Too Large"}


@pytest.mark.parametrize("status", [400, 499, 500, 504])
def test_whose_fault_it_was_is_in_openais_type(status):
    kind = "invalid_request_error" if status < 500 else "server_error"
    assert openai_error(status, "x")["error"]["type"] == kind


@pytest.mark.parametrize(
    ("refused", "status", "text"),
    [
        (refuse_too_long(300, 256), 400, "its prompt has 300 tokens; at most 256"),
        (unavailable("v0002"), 503, "version v0002 cannot answer at the moment"),
        (not_ready(), 503, "no version answers yet"),
        (timed_out(2.5), 504, r"no answer within 2.5 s (request_timeout_s)"),
    ],
)
def test_each_refusal_has_its_status_and_says_what_to_do(refused, status, text):
    assert refused.status == status and text in refused.detail
    assert refused.detail.endswith((".", "few seconds."))
    assert ("retry-after" in refused.headers) == (status == 503)


def test_a_refusal_crosses_processes_whole():
    refused = RefusedError("no", status=503, headers={"retry-after": "5"})
    found = pickle.loads(pickle.dumps(refused))
    assert (str(found), found.detail, found.status) == ("no", "no", 503)
    assert found.headers == {"retry-after": "5"}
