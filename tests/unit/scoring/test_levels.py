"""Labels by level, and how far several answers agree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prediction_rows import POOL, build_rows

from deepicd import codes, scoring
from deepicd.records import Prediction


def test_labels_are_frozen_by_level():
    rows = build_rows([("i25.10", "I2510"), ("O9A111", None)])
    assert scoring.gold_labels(rows) == {
        "chapter": ["IX", "XV"],
        "category": ["I25", "O9A"],
        "full": ["I2510", "O9A111"],
    }
    frozen = {"full": [*scoring.gold_labels(rows)["full"], "J189", "K7030"]}
    assert scoring.score_predictions(rows, labels=frozen)["macro_f1_full"] == pytest.approx(1 / 4)
    assert scoring.score_predictions(rows, labels=frozen)["macro_f1_chapter"] == pytest.approx(0.5)


def test_agreement_counts_every_answer_at_every_level():
    others = ["I2510", "I259", "J189", None]
    found = scoring.agreement("I2510", others)
    assert found == {"code": 2 / 5, "category": 3 / 5, "chapter": 3 / 5}
    assert scoring.agreement("I2510", []) == dict.fromkeys(found, 1.0)
    assert scoring.count_shares(["J189", None, "I2510", "J189"]) == {"J189": 0.5, "I2510": 0.25}


answered = st.lists(st.sampled_from([*POOL, None]), max_size=12)


@given(st.sampled_from(POOL), answered, st.randoms(use_true_random=False))
def test_agreement_grows_towards_the_chapter_and_knows_no_order(answer, others, rng):
    shares = scoring.agreement(answer, others)
    assert 0 < shares["code"] <= shares["category"] <= shares["chapter"] <= 1
    rng.shuffle(others)
    assert scoring.agreement(answer, others) == shares
    assert scoring.agreement(answer, [*others, answer])["code"] >= shares["code"]


@given(answered.filter(len))
def test_shares_of_answers_sum_to_the_share_that_is_an_answer(answers):
    shares = scoring.count_shares(answers)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    missing = answers.count(None) / len(answers)
    assert sum(shares.values()) == pytest.approx(1 - missing)


@given(st.lists(st.sampled_from(POOL), min_size=1))
def test_label_lists_are_sorted_unique_and_complete(golds):
    labels = scoring.labels_of(golds)
    assert labels["full"] == sorted(set(golds))
    assert labels["category"] == sorted({codes.category(code) for code in golds})
    assert labels["chapter"] == sorted({codes.chapter(code) for code in golds})
    assert labels == scoring.gold_labels([Prediction("n", "p", gold, None) for gold in golds])
