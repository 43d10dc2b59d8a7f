"""Labels by level, and how far several answers agree."""

import pytest

from deepicd import scoring
from deepicd.records import Prediction


def build_rows(golds_and_predictions, notes_per_patient=1):
    return [
        Prediction(str(i), f"p{i // notes_per_patient}", gold, prediction)
        for i, (gold, prediction) in enumerate(golds_and_predictions)
    ]


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
