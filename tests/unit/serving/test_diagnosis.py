"""How the answers to one note become one reply, by hand-worked cases."""

from dataclasses import replace

import pytest

from deepicd.records import Calibration, Curve
from deepicd.serving.ingress.diagnosis import (
    build_diagnosis,
    calibrated_confidence,
    majority_vote,
)
from deepicd.serving.ingress.evidence import find_evidence, is_informative
from deepicd.serving.ingress.schemas import DiagnosisRequest
from deepicd.serving.protocol import Generation

HALVES = Curve((0.0, 1.0), (0.0, 0.5))
CALIBRATION = Calibration(
    {"code": HALVES, "category": HALVES, "chapter": Curve((0.0, 1.0), (0.2, 1.0))}, num_notes=50
)


def answer(code: str, reasoning: str = "Chest pain.") -> str:
    return f"{reasoning}</think>\n<diagnosis>{code}</diagnosis>"


@pytest.mark.parametrize(
    ("named", "least", "expected"),
    [
        # of four answers three name the code
        (["I2510", "I2510", "I2510", "I10"], 0.75, ("code", "I2510", 0.75)),
        # no code is frequent enough, but three answers share the category
        (["I2510", "I2511", "I2089", "I2510"], 0.75, ("category", "I25", 0.75)),
        # only the chapter is shared
        (["I2510", "I10", "I480", "J189"], 0.75, ("chapter", "IX", 0.75)),
        # unusable answers count against every node
        (["I2510", None, None, None], 0.5, (None, None, None)),
        (["I2510", None], 0.5, ("code", "I2510", 0.5)),
        # a tie is broken by the name of the node
        (["J189", "I10"], 0.5, ("code", "I10", 0.5)),
    ],
)
def test_the_majority_is_taken_at_the_deepest_level_that_is_sure_enough(named, least, expected):
    agreed = majority_vote(named, least)
    assert (agreed.level, agreed.node, agreed.share) == expected
    assert (agreed.title is None) == (agreed.level is None)


def test_a_calibrated_vote_asks_for_a_probability_and_not_for_a_share():
    named = ["I2510", "I2510", "I2510", "I2510"]
    assert majority_vote(named, 0.6).level == "code"
    agreed = majority_vote(named, 0.6, CALIBRATION)  # codes: 0.5 at most; chapters: 1.0
    assert (agreed.level, agreed.node, agreed.confidence) == ("chapter", "IX", 1.0)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.0), (0.5, 0.25), (1.0, 0.5)])
def test_a_calibration_turns_a_share_into_a_probability(share, expected):
    assert calibrated_confidence(share, "code", CALIBRATION) == pytest.approx(expected)
    assert calibrated_confidence(share, "code", None) == share


def generation(text: str, *samples: str, calibration: Calibration | None = None) -> Generation:
    return Generation(text, samples, (1, 2, 3), 9, False, version="v1", calibration=calibration)


def test_confidence_counts_the_greedy_answer_too_and_is_a_share_without_calibration():
    found = generation(answer("I25.10"), answer("I25.10"), answer("I10"), "nothing")
    reply = build_diagnosis(found, DiagnosisRequest(note="x"), "x", prediction_id="p")
    assert (reply.confidence, reply.confidence_chapter) == (0.5, 0.75)
    assert not reply.is_calibrated
    assert [(one.code, one.share) for one in reply.top_k] == [("I2510", 0.5), ("I10", 0.25)]
    assert reply.usage.model_dump() == {"prompt_tokens": 3, "completion_tokens": 9}


def test_a_calibrated_version_gives_probabilities():
    found = generation(answer("I25.10"), answer("I25.10"), calibration=CALIBRATION)
    reply = build_diagnosis(found, DiagnosisRequest(note="x"), "x", prediction_id="p")
    assert (reply.confidence, reply.confidence_chapter) == (0.5, 1.0) and reply.is_calibrated


def test_a_level_without_a_curve_keeps_the_bare_share_and_says_so():
    known = replace(CALIBRATION, curves={"category": CALIBRATION.curves["category"]})
    found = generation(answer("I25.10"), answer("I25.10"), calibration=known)
    request = DiagnosisRequest(note="x", min_confidence=0.9)
    reply = build_diagnosis(found, request, "x", prediction_id="p")
    assert (reply.confidence, reply.confidence_chapter) == (1.0, 1.0)
    assert not reply.is_calibrated and not reply.is_chapter_calibrated
    assert reply.agreed is not None and not reply.agreed.is_calibrated
    assert calibrated_confidence(0.5, "category", known) == calibrated_confidence(
        0.5, "category", CALIBRATION
    )


def test_without_samples_or_without_a_code_there_is_no_confidence():
    alone = generation(answer("I25.10"), calibration=CALIBRATION)
    lost = generation("nothing", answer("I25.10"), calibration=CALIBRATION)
    for found in (alone, lost):
        reply = build_diagnosis(found, DiagnosisRequest(note="x"), "x", prediction_id="p")
        assert reply.confidence is None and not reply.is_calibrated


def test_reasoning_evidence_and_token_ids_are_given_as_asked_for():
    note = "HPI: chest pain on effort."
    found = generation(answer("I25.10", "Chest pain on effort points to the heart."))
    plain = build_diagnosis(found, DiagnosisRequest(note=note), note, prediction_id="p")
    assert plain.reasoning is not None and plain.evidence is plain.prompt_token_ids is None
    asked = DiagnosisRequest(
        note=note, include_reasoning=False, include_evidence=True, include_token_ids=True
    )
    full = build_diagnosis(found, asked, note, prediction_id="p")
    assert full.reasoning is None and full.prompt_token_ids == [1, 2, 3]
    assert full.evidence is not None
    assert [note[one.start : one.end] for one in full.evidence] == ["chest pain on effort"]


@pytest.mark.parametrize(
    ("reasoning", "note", "spans"),
    [
        ("of the", "one of the two", []),  # two words, none of four letters
        ("chest", "chest pain", []),  # one word
        ("acute chest pain", "ACUTE\nchest   pain", ["ACUTE\nchest   pain"]),
        ("fever and cough", "cough and fever", []),  # the order counts
        ("chest pain and chest pain", "chest pain", ["chest pain"]),
    ],
)
def test_evidence_is_what_is_repeated_word_for_word(reasoning, note, spans):
    assert [note[start:end] for start, end in find_evidence(reasoning, note)] == spans


def test_nothing_repeated_is_not_informative():
    assert not is_informative([])
