"""Confidence, calibration and agreement in a reply."""

from dataclasses import replace

import pytest
from gateway_client import OTHER, RIGHT, GatewayClient

from deepicd.records import Calibration, Curve


def test_confidence_is_the_share_of_all_answers_that_name_the_code():
    body = GatewayClient().post("/v1/diagnoses", {"note": "Pain."}).json()
    assert body["confidence"] == 0.5  # greedy and one of three samples
    assert [(c["code"], c["share"]) for c in body["top_k"]] == [("I2510", 0.5), ("I10", 0.25)]


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


def test_a_version_whose_chapters_are_not_calibrated_promises_nothing_to_the_monitor():
    client = GatewayClient()
    curves = {"code": KNOWN.curves["code"]}
    client.engine.calibration = replace(KNOWN, curves=curves)
    body = client.post("/v1/diagnoses", {"note": "Pain."}).json()
    assert body["is_calibrated"] and not body["is_chapter_calibrated"]
    assert (body["confidence"], body["confidence_chapter"]) == (0.25, 0.75)
    assert [(row.chapter_confidence, row.num_calibration) for row in client.log.kept] == [
        (None, None)
    ]


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
