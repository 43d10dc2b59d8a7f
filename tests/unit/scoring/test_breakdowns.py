"""Scores by chapter and by frequency in training."""

import pytest
from prediction_rows import POOL, build_rows

from deepicd import scoring


def test_thirds_go_by_frequency_in_training():
    training = ["I10"] * 9 + ["J18.9"] * 5 + ["R69"]
    rows = build_rows([("I10", "I10"), ("I10", None), ("J189", "J189"), ("R69", "I10")])
    thirds = scoring.score_thirds(rows, training)
    assert list(thirds) == ["head", "middle", "tail"]
    # I10: 1 hit, 2 gold, 2 predicted
    assert thirds["head"] == {
        "num_labels": 1,
        "num_notes": 2,
        "macro_f1_full": pytest.approx(0.5),
        "accuracy_full": pytest.approx(0.5),
    }
    assert thirds["middle"]["macro_f1_full"] == 1
    assert thirds["tail"]["accuracy_full"] == 0
    assert list(scoring.score_thirds(rows[:1], training)) == ["head"]


def test_chapters_come_in_order_with_their_own_scores():
    rows = build_rows([("R69", "R69"), ("I2510", "I252"), ("I10", "R69"), ("J189", None)])
    table = scoring.score_chapters(rows)
    assert [row["chapter"] for row in table] == ["IX", "X", "XVIII"]
    assert table[0]["title"] == "Diseases of the circulatory system"
    assert (table[0]["num_notes"], table[0]["accuracy_category"]) == (2, 0.5)
    assert table[0]["f1"] == pytest.approx(2 / 3)
    assert table[2]["f1"] == pytest.approx(2 / 3)
    assert (table[2]["accuracy_full"], table[0]["accuracy_full"]) == (1, 0)


def test_breakdowns_count_every_note_once():
    rows = build_rows([(code, code if index % 2 else None) for index, code in enumerate(POOL * 3)])
    chapters = scoring.score_chapters(rows)
    assert sum(row["num_notes"] for row in chapters) == len(rows)
    thirds = scoring.score_thirds(rows, [*POOL, *POOL[:3]])
    assert sum(third["num_notes"] for third in thirds.values()) == len(rows)
    assert sum(third["num_labels"] for third in thirds.values()) == len(set(POOL))
    right = sum(third["accuracy_full"] * third["num_notes"] for third in thirds.values())
    assert right / len(rows) == pytest.approx(scoring.score_predictions(rows)["accuracy_full"])
