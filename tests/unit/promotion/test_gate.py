"""The gate on numbers worked by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from deepicd.config import PromotionConfig
from deepicd.errors import DataError
from deepicd.promotion.gate import gate
from deepicd.records import Examination, Prediction

QUICK = PromotionConfig(num_bootstrap=100)


def rows(*pairs: tuple[str, str | None], patients: int = 0, **also: Any) -> Examination:
    """Predictions of (gold, prediction) pairs; `patients` > 0 spreads them over that many."""
    predictions = [
        Prediction(f"n{i}", f"p{i % patients if patients else i}", gold, code)
        for i, (gold, code) in enumerate(pairs)
    ]
    return Examination(predictions, **also)


def tail(examination: Examination, first: int) -> Examination:
    return Examination(examination.predictions[first:])


def test_the_gate_accepts_a_gain_and_says_so_in_numbers() -> None:
    champion = rows(("I2510", "I259"), ("J189", "J189"))  # 5 of 6 nodes: I259 shares 2 of 3
    candidate = rows(("I2510", "I2510"), ("J189", "J189"))
    decision = gate(candidate, champion, config=QUICK, seed=0)
    assert decision.accepted
    assert decision.numbers["champion_hierarchical_f1"] == pytest.approx(5 / 6)
    assert decision.numbers["candidate_hierarchical_f1"] == pytest.approx(1.0)
    assert decision.numbers["difference"] == pytest.approx(1 / 6)
    assert decision.numbers["num_notes"] == 2
    assert all(reason.startswith("met: ") for reason in decision.reasons)


@pytest.mark.parametrize(
    ("config", "is_accepted"),
    [
        ({}, False),
        ({"min_difference": -0.01}, True),
    ],
)
def test_a_tie_changes_nothing_unless_a_loss_is_allowed(
    config: dict[str, float], is_accepted: bool
) -> None:
    same = rows(("I2510", "I259"), ("J189", "J189"))
    decision = gate(same, same, config=QUICK.model_copy(update=config), seed=0)
    assert decision.accepted is is_accepted
    assert decision.numbers["difference"] == 0


def test_a_gain_that_is_too_small_or_in_doubt_is_rejected_with_the_reason() -> None:
    pairs = [("I2510", "I2510"), ("J189", "J189")] * 20
    champion = rows(*pairs[:-1], ("J189", "J188"))
    candidate = rows(*pairs)
    small = gate(candidate, champion, config=PromotionConfig(min_difference=0.02), seed=0)
    assert not small.accepted  # 1 of 120 nodes
    assert small.numbers["difference"] == pytest.approx(1 / 120)
    assert any(r.startswith("NOT met: hierarchical F1 1.0000") for r in small.reasons)
    doubt = gate(candidate, champion, config=PromotionConfig(require_significance=True), seed=0)
    assert not doubt.accepted and doubt.numbers["low"] == 0
    assert any("NOT met: the interval's lower end +0.0000" in r for r in doubt.reasons)


def test_unparsable_answers_reject_a_candidate_that_gains() -> None:
    champion = rows(*[("I2510", "J189")] * 10)
    candidate = rows(*[("I2510", "I2510")] * 8, *[("I2510", None)] * 2)
    decision = gate(candidate, champion, config=QUICK, seed=0)
    assert not decision.accepted and decision.numbers["difference"] > 0.5
    assert (
        decision.reasons[0] == "NOT met: 20.0% of the answers hold no usable code (at most 10.0%)"
    )


def test_a_chapter_that_is_clearly_lost_rejects_an_overall_gain() -> None:
    golds = ["I2510"] * 40 + ["J189"] * 160
    champion = rows(*[(g, g if g == "I2510" else "N179") for g in golds])
    candidate = rows(*[(g, g if g == "J189" else "N179") for g in golds])
    decision = gate(candidate, champion, config=QUICK, seed=0)
    assert not decision.accepted and decision.numbers["difference"] == pytest.approx(0.6)
    assert decision.numbers["chapter_IX_difference"] == pytest.approx(-1.0)
    assert any("of 2 chapters" in r and "1 lost more than 0.25" in r for r in decision.reasons)
    few = gate(tail(candidate, 30), tail(champion, 30), config=QUICK, seed=0)
    assert few.accepted and "chapter_IX_low" not in few.numbers  # 10 notes are too few to say


def test_intervals_widen_with_the_number_of_candidates() -> None:
    random = np.random.default_rng(0)
    golds = ["I2510", "J189", "N179"]
    pairs = [golds[i] for i in random.integers(3, size=120)]
    champion = rows(*[(g, golds[random.integers(3)]) for g in pairs])
    candidate = rows(*[(g, g if random.random() < 0.7 else "N179") for g in pairs])
    config = PromotionConfig(num_bootstrap=2000)
    one, ten = (gate(candidate, champion, config=config, seed=0, num_candidates=n) for n in (1, 10))
    assert ten.numbers["low"] < one.numbers["low"] <= one.numbers["difference"]
    assert one.numbers["high"] < ten.numbers["high"]
    assert any("99.50% interval" in reason for reason in ten.reasons)


def test_without_a_champion_only_the_answers_themselves_count() -> None:
    assert gate(rows(("I2510", "J189")), None, config=QUICK, seed=0).accepted
    assert not gate(rows(("I2510", None)), None, config=QUICK, seed=0).accepted


def test_predictions_of_other_notes_or_golds_are_refused() -> None:
    two = rows(("I2510", "I2510"), ("J189", "J189"))
    with pytest.raises(DataError, match="same notes"):
        gate(tail(two, 1), two, config=QUICK, seed=0)
    with pytest.raises(DataError, match="another gold"):
        gate(two, rows(("I2510", "I2510"), ("N179", "J189")), config=QUICK, seed=0)
    with pytest.raises(DataError, match="no predictions"):
        gate(rows(), two, config=QUICK, seed=0)


def change(examination: Examination, **also: Any) -> Examination:
    """The same predictions with further fields; a function gets the index."""
    made = [
        replace(
            row, **{name: value(i) if callable(value) else value for name, value in also.items()}
        )
        for i, row in enumerate(examination.predictions)
    ]
    return replace(examination, predictions=made)


def test_a_group_of_patients_that_is_clearly_lost_rejects_an_overall_gain() -> None:
    golds = ["I2510"] * 40 + ["J189"] * 160
    groups = lambda i: {"sex": "F" if i < 40 else "M", "race": "other"}  # noqa: E731
    config = QUICK.model_copy(update={"max_chapter_loss": 1.0})
    champion = rows(*[(g, g if g == "I2510" else "N179") for g in golds])
    candidate = rows(*[(g, g if g == "J189" else "N179") for g in golds])
    assert gate(candidate, champion, config=config, seed=0).accepted
    found = gate(change(candidate, groups=groups), champion, config=config, seed=0)
    assert not found.accepted and found.numbers["sex_F_difference"] == pytest.approx(-1.0)
    assert found.numbers["race_other_difference"] == pytest.approx(0.6)
    assert any("of 3 groups of patients" in r and "sex_F (-1.0000" in r for r in found.reasons)


def test_codes_that_do_not_exist_reject_a_candidate_that_gains() -> None:
    champion = rows(*[("I2510", "J189")] * 10)
    candidate = rows(*[("I2510", "I2510")] * 9, ("I2510", None))
    candidate = change(candidate, reason=lambda i: "unknown_code" if i == 9 else None)
    found = gate(candidate, champion, config=QUICK, seed=0)
    assert not found.accepted and found.numbers["candidate_share_nonexistent"] == 0.1
    assert "NOT met: 10.0% name a code that does not exist" in found.reasons[1]


@pytest.mark.parametrize(
    ("tokens", "seconds", "is_accepted", "reason"),
    [
        (20, 0.1, True, "met: 20.0 tokens an answer against the champion's 10.0 (at most 2 times)"),
        (21, 0.1, False, "NOT met: 21.0 tokens"),
        (10, 0.31, False, "NOT met: 0.310 s an answer against the champion's 0.100"),
    ],
)
def test_answers_may_not_become_much_longer_or_slower(
    tokens: int, seconds: float, is_accepted: bool, reason: str
) -> None:
    champion = change(rows(("I2510", "J189"), seconds=0.1), num_tokens=10)
    candidate = change(rows(("I2510", "I2510"), seconds=seconds), num_tokens=tokens)
    found = gate(candidate, champion, config=QUICK, seed=0)
    assert found.accepted is is_accepted
    assert any(r.startswith(reason) for r in found.reasons)


@pytest.mark.parametrize(
    ("ours", "theirs", "is_accepted"),
    [
        ([True] * 10, [True] * 10, True),
        ([True] * 8 + [False] * 2, [True] * 10, True),  # two lost cases are chance
        ([False] * 10, [True] * 10, False),
        ([False] * 5 + [True] * 5, [True] * 5 + [False] * 5, True),  # as good, on other cases
        ([False] * 4, [True] * 10, True),  # other cases are not compared
    ],
)
def test_a_behaviour_that_is_lost_beyond_chance_rejects_a_gain(
    ours: list[bool], theirs: list[bool], is_accepted: bool
) -> None:
    champion = rows(("I2510", "J189"), behaviour={"direction": theirs})
    candidate = rows(("I2510", "I2510"), behaviour={"direction": ours})
    found = gate(candidate, champion, config=QUICK, seed=0)
    assert found.accepted is is_accepted
    assert found.numbers["candidate_direction"] == sum(ours) / len(ours)


def test_a_behaviour_may_be_asked_for_without_a_champion() -> None:
    config = QUICK.model_copy(update={"min_behaviour": 0.9})
    candidate = rows(("I2510", "I2510"), behaviour={"minimum_function": [True] * 8 + [False] * 2})
    found = gate(candidate, None, config=config, seed=0)
    assert not found.accepted
    assert any("NOT met: minimum_function: 80% of 10 cases" in r for r in found.reasons)
