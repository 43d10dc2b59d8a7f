"""Intervals by patient, and the paired comparison of two models."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prediction_rows import build_random_rows, build_rows

from deepicd import scoring
from deepicd.errors import ConfigError, DataError
from deepicd.records import Prediction
from deepicd.scoring.bootstrap import _draw_blocks, interval_of, resample_patients


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


@given(st.integers(0, 2**16), st.integers(2, 30))
def test_comparing_the_other_way_round_changes_the_sign_and_nothing_else(seed, size):
    first, second = build_random_rows(size, 1), build_random_rows(size, 2)
    there = scoring.paired_bootstrap(first, second, num_bootstrap=40, seed=seed)
    back = scoring.paired_bootstrap(second, first, num_bootstrap=40, seed=seed)
    assert back["difference"] == pytest.approx(-there["difference"])
    assert (back["low"], back["high"]) == pytest.approx((-there["high"], -there["low"]))
    assert back["p"] == there["p"] and 0 < there["p"] <= 1


@given(st.integers(1, 12), st.integers(1, 20), st.integers(0, 2**16))
def test_a_resample_has_as_many_patients_as_there_are(num_patients, num_bootstrap, seed):
    patients = np.arange(num_patients)
    samples = list(resample_patients(patients, num_patients, num_bootstrap, seed=seed))
    assert len(samples) == num_bootstrap
    assert all(weights.sum() == num_patients and (weights >= 0).all() for weights in samples)
    again = resample_patients(patients, num_patients, num_bootstrap, seed=seed)
    assert all((a == b).all() for a, b in zip(samples, again, strict=True))


def test_all_notes_of_a_patient_have_one_weight():
    patient = np.array([0, 1, 0, 2, 1, 0])
    for weights in resample_patients(patient, 3, 50, seed=1):
        assert weights[0] == weights[2] == weights[5] and weights[1] == weights[4]


@pytest.mark.parametrize(
    ("confidence", "low", "high"), [(0.5, 25.0, 75.0), (0.9, 5.0, 95.0), (0.99, 0.5, 99.5)]
)
def test_percentiles_cut_equal_tails(confidence, low, high):
    ends = interval_of(np.arange(101.0)[:, None], num_patients=20, confidence=confidence)
    assert [float(end[0]) for end in ends] == pytest.approx([low, high])


@pytest.mark.parametrize(
    ("num_patients", "span", "low", "high"),
    [
        (1, 1.0, 0.0, 1.0),  # by Hoeffding's bound: sqrt(ln 40 / 2 n) to either side
        (8, 1.0, 0.0198, 0.9802),
        (19, 1.0, 0.1884, 0.8116),
        (19, 2.0, -0.1231, 1.0),
        (20, 1.0, 0.5, 0.5),
    ],
)
def test_ends_of_few_patients_move_out_by_hoeffdings_bound(num_patients, span, low, high):
    ends = interval_of(np.full(9, 0.5), num_patients=num_patients, confidence=0.95, span=span)
    assert [float(end) for end in ends] == pytest.approx([low, high], abs=1e-4)
    assert scoring.has_few_patients(num_patients) == (num_patients < 20)


@pytest.mark.parametrize("num_patients", [1, 3, 19])
def test_a_difference_of_few_patients_is_wide_and_says_so(num_patients):
    right = build_rows([("I10", "I10")] * num_patients)
    wrong = build_rows([("I10", None)] * num_patients)
    paired = scoring.paired_bootstrap(right, wrong, num_bootstrap=50)
    assert paired["has_few_patients"] is True
    assert paired["low"] < paired["difference"] == paired["high"] == 1.0
    same = scoring.compare_paired(right, right, num_bootstrap=50)
    low, high = same.interval(0.95)
    assert same.has_few_patients and low < 0 < high
    assert scoring.mark_few(paired) == " (few patients)" and scoring.mark_few({}) == ""


def test_an_interval_of_a_trial_with_few_patients_is_wide():
    low, high = scoring.interval(build_rows([("I10", "I10")] * 5))
    assert low < 0.5 and high == 1.0


@pytest.mark.parametrize(("num_patients", "num_bootstrap"), [(7, 50), (300, 20), (2001, 1001)])
def test_blocks_hold_the_draws_that_are_drawn_one_by_one(num_patients, num_bootstrap):
    patients = np.arange(num_patients)
    one_by_one = resample_patients(patients, num_patients, num_bootstrap, seed=3)
    blocks = _draw_blocks(num_patients, num_bootstrap, seed=3)
    weights = (row for block in blocks for row in block)
    assert all((a == b).all() for a, b in zip(one_by_one, weights, strict=True))


def test_a_comparison_needs_a_replicate():
    rows = [Prediction("n", "p", "I2510", "I2510")]
    with pytest.raises(ConfigError, match="num_bootstrap must be at least 1"):
        scoring.paired_bootstrap(rows, rows, num_bootstrap=0)


def test_an_interval_of_a_paired_difference_widens_with_its_confidence():
    champion = build_random_rows(200, seed=1, share_right=0.3)
    candidate = build_random_rows(200, seed=2, share_right=0.6)
    paired = scoring.compare_paired(candidate, champion, num_bootstrap=400)
    narrow, wide = paired.interval(0.5), paired.interval(0.99)
    assert wide[0] < narrow[0] < paired.observed < narrow[1] < wide[1]
