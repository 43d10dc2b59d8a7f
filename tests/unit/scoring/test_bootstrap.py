"""Intervals by patient, and the paired comparison of two models."""

import random

import numpy as np
import pytest

from deepicd import scoring
from deepicd.errors import DataError
from deepicd.records import Prediction

# Siblings, one category, one chapter and others, so that every level can be right or wrong.
POOL = [
    "I2510",
    "I25110",
    "I252",
    "I10",
    "I214",
    "J189",
    "J690",
    "C4A9",
    "O9A111",
    "S0262XA",
    "R69",
]


def build_rows(golds_and_predictions, notes_per_patient=1):
    return [
        Prediction(str(i), f"p{i // notes_per_patient}", gold, prediction)
        for i, (gold, prediction) in enumerate(golds_and_predictions)
    ]


def build_random_rows(size, seed, share_right=0.4):
    gold_rng, rng = random.Random(11), random.Random(seed)
    rows = []
    for _ in range(size):
        gold = gold_rng.choice(POOL)
        rows.append((gold, gold if rng.random() < share_right else rng.choice([*POOL, None])))
    return build_rows(rows, notes_per_patient=2)


def test_intervals_hold_the_point_and_depend_on_the_seed_alone():
    rows = build_random_rows(200, seed=1)
    scores = scoring.score_predictions(rows, num_bootstrap=200, seed=3)
    names = [n for n in scores if not n.startswith("num_") and not n.endswith(("_low", "_high"))]
    assert len(names) == 13
    for name in names:
        assert 0 <= scores[f"{name}_low"] <= scores[name] <= scores[f"{name}_high"] <= 1
    assert scores == scoring.score_predictions(rows, num_bootstrap=200, seed=3)
    assert scores != scoring.score_predictions(rows, num_bootstrap=200, seed=4)
    wide = scoring.score_predictions(rows, num_bootstrap=200, seed=3, confidence=0.99)
    assert wide["hierarchical_f1_low"] < scores["hierarchical_f1_low"]


def test_notes_of_one_patient_are_drawn_together():
    # All notes of a patient agree, so that there are 4 independent facts however many notes.
    rows = [
        Prediction(f"{p}-{n}", f"p{p}", "I10", "I10" if p % 2 else None)
        for p in range(4)
        for n in range(50)
    ]
    by_patient = scoring.score_predictions(rows, num_bootstrap=400)
    by_note = scoring.score_predictions(
        [Prediction(r.note_id, r.note_id, r.gold, r.prediction) for r in rows], num_bootstrap=400
    )
    assert by_patient["accuracy_full_high"] - by_patient["accuracy_full_low"] > 0.7
    assert by_note["accuracy_full_high"] - by_note["accuracy_full_low"] < 0.2


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng, covered = np.random.default_rng(5), 0
    for trial in range(50):
        rows = build_rows([("I10", "I10" if hit else None) for hit in rng.random(120) < 0.6])
        scores = scoring.score_predictions(rows, num_bootstrap=60, seed=trial, confidence=0.9)
        covered += scores["accuracy_full_low"] <= 0.6 <= scores["accuracy_full_high"]
    assert 0.75 <= covered / 50 <= 0.97


def test_paired_comparison_sees_a_difference_and_none():
    champion = build_random_rows(400, seed=1, share_right=0.3)
    candidate = build_random_rows(400, seed=2, share_right=0.6)
    better = scoring.paired_bootstrap(candidate, champion, num_bootstrap=300)
    assert better["difference"] == pytest.approx(
        scoring.hierarchical_f1(candidate) - scoring.hierarchical_f1(champion)
    )
    assert 0 < better["low"] < better["difference"] < better["high"]
    assert better["p"] == pytest.approx(2 / 301)
    worse = scoring.paired_bootstrap(champion, candidate, num_bootstrap=300)
    assert worse["difference"] == pytest.approx(-better["difference"])
    assert worse["low"] == pytest.approx(-better["high"])
    same = scoring.paired_bootstrap(champion, list(reversed(champion)), num_bootstrap=50)
    assert same == {"difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}


def test_a_comparison_refuses_different_notes():
    rows = build_rows([("I10", "I10"), ("J189", None)])
    with pytest.raises(DataError, match="same notes; got 1 and 2"):
        scoring.paired_bootstrap(rows[:1], rows)
    with pytest.raises(DataError, match="note 1 is missing on the other side"):
        scoring.paired_bootstrap(rows, rows[:1])
    with pytest.raises(DataError, match=r"note 1 .* another gold label"):
        scoring.paired_bootstrap(rows, [rows[0], Prediction("1", "p1", "J690", None)])
    with pytest.raises(DataError, match="a note id occurs twice"):
        scoring.paired_bootstrap([rows[0], rows[0]], rows)
