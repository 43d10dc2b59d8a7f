"""The gate on numbers worked by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepicd.config import PromotionConfig
from deepicd.errors import DataError
from deepicd.promotion.gate import confidence_of, gate
from deepicd.records import Examination, Prediction

QUICK = PromotionConfig(num_bootstrap=100, min_patients=1)


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
    champion = rows(*[("I2510", "I259"), ("J189", "J189")] * 40)  # I259 shares 2 of 3 nodes
    candidate = rows(*[("I2510", "I2510"), ("J189", "J189")] * 40)
    decision = gate(candidate, champion, config=QUICK, seed=0)
    assert decision.accepted
    assert decision.numbers["champion_hierarchical_f1"] == pytest.approx(5 / 6)
    assert decision.numbers["candidate_hierarchical_f1"] == pytest.approx(1.0)
    assert decision.numbers["difference"] == pytest.approx(1 / 6)
    assert decision.numbers["num_notes"] == 80
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
    same = rows(*[("I2510", "I259"), ("J189", "J189")] * 10)
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
    assert any(
        "of 2 chapters" in r and "1 may have lost more than 0.25" in r for r in decision.reasons
    )
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
    assert any("99.75% interval" in reason for reason in ten.reasons)


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
    config = QUICK.model_copy(update={"max_chapter_loss": 1.01})
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
    champion = change(rows(*[("I2510", "J189")] * 20, seconds=0.1), num_tokens=10)
    candidate = change(rows(*[("I2510", "I2510")] * 20, seconds=seconds), num_tokens=tokens)
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
    champion = rows(*[("I2510", "J189")] * 20, behaviour={"direction": theirs})
    candidate = rows(*[("I2510", "I2510")] * 20, behaviour={"direction": ours})
    found = gate(candidate, champion, config=QUICK, seed=0)
    assert found.accepted is is_accepted
    assert found.numbers["candidate_direction"] == sum(ours) / len(ours)


def test_a_behaviour_may_be_asked_for_without_a_champion() -> None:
    config = QUICK.model_copy(update={"min_behaviour": 0.9})
    candidate = rows(("I2510", "I2510"), behaviour={"minimum_function": [True] * 8 + [False] * 2})
    found = gate(candidate, None, config=config, seed=0)
    assert not found.accepted
    assert any("NOT met: minimum_function: 80% of 10 cases" in r for r in found.reasons)


# What noise does


def draw_pair(
    random: np.random.Generator,
    shares: tuple[float, float],
    *,
    harm: float = 0.0,
    num_notes: int = 60,
) -> tuple[Examination, Examination]:
    """Answers of two models to notes of two chapters, each right with its share; the candidate
    loses `harm` of them in the first chapter.
    """
    golds = ["I2510"] * (num_notes // 2) + ["J189"] * (num_notes // 2)
    answers = []
    for number, share in enumerate(shares):
        least = np.array([share - (harm if number == 0 and g == "I2510" else 0) for g in golds])
        is_right = random.random(len(golds)) < least
        pairs = [(g, g if ok else "A000") for g, ok in zip(golds, is_right, strict=True)]
        answers.append(rows(*pairs))
    return answers[0], answers[1]


def count_promotions(num_draws: int, shares: tuple[float, float], **also: Any) -> int:
    random = np.random.default_rng(20)
    config = PromotionConfig(max_unparsable=1)
    pairs = (draw_pair(random, shares, **also) for _ in range(num_draws))
    return sum(gate(*pair, config=config, seed=0).accepted for pair in pairs)


def test_equal_models_are_promoted_no_more_often_than_the_error_that_is_allowed() -> None:
    # One-sided error of a 97.5% interval: 1.25% of 2,000, and three standard deviations above.
    assert count_promotions(2000, (0.6, 0.6)) <= 25 + 15


def test_a_better_model_is_promoted_and_one_that_harms_a_chapter_is_not() -> None:
    assert count_promotions(100, (0.85, 0.6), num_notes=160) >= 90
    assert count_promotions(100, (0.95, 0.6), num_notes=160, harm=0.75) == 0


def count_harmful(num_draws: int, loss: float) -> int:
    """How often a candidate is promoted that gains much overall and loses so much in one chapter,
    which has 120 notes, enough to know.
    """
    random = np.random.default_rng(21)
    golds = ["I2510"] * 120 + ["J189"] * 160
    shares = [(0.8 - loss, 0.95), (0.8, 0.3)]
    config = PromotionConfig(max_unparsable=1, num_bootstrap=800)
    num_promoted = 0
    for _ in range(num_draws):
        pair = []
        for by_chapter in shares:
            is_right = random.random(len(golds)) < np.repeat(by_chapter, (120, 160))
            answers = [g if ok else "A000" for g, ok in zip(golds, is_right, strict=True)]
            pair.append(rows(*zip(golds, answers, strict=True)))
        num_promoted += gate(*pair, config=config, seed=0).accepted
    return num_promoted


@pytest.mark.parametrize(
    ("num_draws", "loss", "most"),
    [
        (1000, 0.45, 0),
        # A loss of just the margin: 1.25% of 400, and three standard deviations above.
        (400, 0.25, 5 + 7),
    ],
)
def test_a_candidate_that_harms_one_chapter_is_not_promoted_by_what_it_gains_in_others(
    num_draws: int, loss: float, most: int
) -> None:
    assert count_harmful(num_draws, loss) <= most


def test_the_same_gain_without_harm_is_promoted() -> None:
    assert count_harmful(50, 0.0) >= 45


def test_a_chapter_with_too_few_notes_to_know_is_undecided_with_the_number_it_would_need() -> None:
    random = np.random.default_rng(5)
    golds = ["I2510"] * 160 + ["J189"] * 32
    right = [random.random(len(golds)) < share for share in (0.9, 0.5)]
    right[1][160:] = random.random(32) < 0.9  # the champion is as good where there are few notes
    ours, theirs = (
        rows(*[(g, g if ok else "N179") for g, ok in zip(golds, some, strict=True)])
        for some in right
    )
    config = PromotionConfig(max_chapter_loss=0.1)
    found = gate(ours, theirs, config=config, seed=0)
    assert found.accepted and found.numbers["num_undecided"] == 1
    (reason,) = [reason for reason in found.reasons if reason.startswith("undecided")]
    needed = found.numbers["chapter_X_needed"]
    assert f"chapter_X ({found.numbers['chapter_X_difference']:+.4f}" in reason
    assert f"32 notes of about {needed:.0f} needed" in reason and needed > 32
    blocking = config.model_copy(update={"undecided_blocks": True})
    blocked = gate(ours, theirs, config=blocking, seed=0)
    assert not blocked.accepted
    assert any(reason.startswith("undecided, which blocks") for reason in blocked.reasons)


def test_a_chapter_of_fewer_notes_than_the_least_is_undecided_whatever_it_lost() -> None:
    golds = ["I2510"] * 60 + ["J189"] * 9
    # Better where there are notes enough, all wrong where there are few.
    ours = rows(*[(gold, "I2510") for gold in golds])
    theirs = rows(*[(g, g if g == "J189" or n % 2 else "N179") for n, g in enumerate(golds)])
    config = PromotionConfig(max_chapter_loss=0.1, min_chapter_notes=10)
    found = gate(ours, theirs, config=config, seed=0)
    assert found.numbers["num_undecided"] == 1
    (reason,) = [reason for reason in found.reasons if reason.startswith("undecided")]
    assert reason.endswith("too few notes to know: chapter_X (9 notes of at least 10)")
    assert not [name for name in found.numbers if name.startswith("chapter_X_")]
    blocking = config.model_copy(update={"undecided_blocks": True})
    blocked = gate(ours, theirs, config=blocking, seed=0)
    assert found.accepted and not blocked.accepted
    one_less = config.model_copy(update={"min_chapter_notes": 9})
    judged = gate(ours, theirs, config=one_less, seed=0)
    assert not judged.accepted and judged.numbers["num_undecided"] == 0


def test_where_no_loss_is_allowed_no_number_of_notes_would_be_enough() -> None:
    ours = rows(*[("I2510", "I2510" if n % 2 else "N179") for n in range(40)])
    theirs = rows(*[("I2510", "N179" if n % 2 else "I2510") for n in range(40)])
    found = gate(ours, theirs, config=PromotionConfig(max_chapter_loss=0.0), seed=0)
    (reason,) = [reason for reason in found.reasons if reason.startswith("undecided")]
    assert reason.endswith("no number of them shows that an equally good model lost nothing")
    assert "chapter_IX_needed" not in found.numbers


def test_the_number_of_notes_that_is_needed_is_enough_for_four_of_five_equal_models() -> None:
    random = np.random.default_rng(6)
    config = PromotionConfig(
        max_chapter_loss=0.2, min_chapter_notes=2, require_significance=False, min_difference=-1
    )

    def low_and_needed(num_notes: int) -> tuple[float, float]:
        pair = [
            rows(*[("I2510", "I2510" if ok else "N179") for ok in random.random(num_notes) < 0.7])
            for _ in range(2)
        ]
        numbers = gate(*pair, config=config, seed=0).numbers
        # The gate's interval is one of 97.5%; the number is one for the configured 95%.
        half = (numbers["chapter_IX_difference"] - numbers["chapter_IX_low"]) * 1.96 / 2.24
        return numbers["chapter_IX_difference"] - half, numbers["chapter_IX_needed"]

    needed = int(np.median([low_and_needed(60)[1] for _ in range(20)]))
    passed = [low_and_needed(needed)[0] > -0.2 for _ in range(200)]
    assert needed > 60 and 0.7 < np.mean(passed) < 0.9


@given(
    seed=st.integers(0, 99),
    share=st.floats(0.4, 0.9),
    more=st.tuples(st.integers(1, 3), st.integers(1, 4)),
)
@settings(max_examples=25)
def test_looking_more_often_never_makes_promotion_easier(
    seed: int, share: float, more: tuple[int, int]
) -> None:
    pair = draw_pair(np.random.default_rng(seed), (share, 0.5))
    once = gate(*pair, config=QUICK, seed=0)
    often = gate(*pair, config=QUICK, seed=0, num_candidates=more[0], num_uses=more[1])
    assert once.accepted or not often.accepted


@pytest.mark.parametrize("num_candidates", [1, 3])
def test_the_error_that_is_allowed_is_not_exceeded_over_any_number_of_uses(
    num_candidates: int,
) -> None:
    spent = sum(
        num_candidates * (1 - confidence_of(QUICK, num_candidates=num_candidates, num_uses=n))
        for n in range(1, 10_000)
    )
    assert 0.0499 < spent < 0.05


def test_too_few_patients_are_not_judged() -> None:
    champion = rows(*[("I2510", "N179")] * 40, patients=19)
    candidate = rows(*[("I2510", "I2510")] * 40, patients=19)
    found = gate(candidate, champion, config=PromotionConfig(), seed=0)
    assert not found.accepted and "difference" not in found.numbers
    (reason,) = found.reasons
    assert reason.startswith("NOT judged: 19 patients are left to compare on, and fewer than 20")


def test_the_greatest_confidence_of_the_most_candidates_and_uses_is_below_1() -> None:
    greatest = PromotionConfig(confidence=0.9999, num_candidates=1000)
    assert confidence_of(greatest, num_candidates=1000, num_uses=10_000) < 1
    same = rows(*[("I2510", "I2510"), ("J189", "J189")] * 20)
    decision = gate(same, same, config=greatest, seed=0, num_candidates=1000, num_uses=10_000)
    assert not decision.accepted
