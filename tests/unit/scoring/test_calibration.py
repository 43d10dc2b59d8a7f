"""Calibration error, and calibrated agreement, by hand and on drawn answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd import scoring
from deepicd.errors import DataError
from deepicd.records import Prediction


def test_calibration_errors_by_hand():
    # two bins: 0.5 and 0.7 right once in two (mean 0.6), 0.9 right twice in two
    confidences, right = [0.5, 0.7, 0.9, 0.9], [True, False, True, True]
    found = scoring.expected_calibration_error(confidences, right, num_bins=2)
    assert found == pytest.approx((abs(1.2 - 1) + abs(1.8 - 2)) / 4)
    assert scoring.expected_calibration_error([1.0] * 4, [True, True, True, False]) == 0.25
    assert scoring.expected_calibration_error([0.0], [False]) == 0.0


answers = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


@given(answers, st.randoms(), st.integers(1, 12))
def test_a_calibration_error_knows_no_order_and_lies_above_the_overall_gap(rows, rng, num_bins):
    shuffled = rng.sample(rows, len(rows))
    found = [
        scoring.expected_calibration_error(*zip(*given, strict=True), num_bins=num_bins)
        for given in (rows, shuffled)
    ]
    assert found[0] == pytest.approx(found[1]) and 0 <= found[0] <= 1
    overall = abs(np.mean([c for c, _ in rows]) - np.mean([right for _, right in rows]))
    assert found[0] >= overall - 1e-9


def test_confidences_that_mean_what_they_say_have_almost_no_error():
    rng = np.random.default_rng(1)
    confidences = rng.integers(0, 10, 20_000) / 9  # as of nine answers
    right = rng.random(20_000) < confidences
    assert scoring.expected_calibration_error(confidences, right) < 0.015
    assert scoring.expected_calibration_error(confidences, right[::-1]) > 0.2


@pytest.mark.parametrize(
    ("confidences", "right", "match"),
    [
        ([], [], "at least one"),
        ([0.5], [True, False], "got 1 and 2"),
        ([50], [True], "percentages"),
    ],
)
def test_what_is_no_confidence_has_no_calibration_error(confidences, right, match):
    with pytest.raises(DataError, match=match):
        scoring.expected_calibration_error(confidences, right)


def sampled(*rows: tuple[float, bool], patients: int = 10**6) -> list[Prediction]:
    """Answers of (share, whether right); a wrong one is of another chapter."""
    return [
        Prediction(
            f"n{i}", f"p{i % patients}", "I2510", "I2510" if is_right else "J189",
            shares=dict.fromkeys(("code", "category", "chapter"), share),
        )
        for i, (share, is_right) in enumerate(rows)
    ]  # fmt: skip


def test_a_calibration_by_hand():
    rows = [(0.5, False)] * 9 + [(0.5, True)] + [(1.0, True)] * 40
    found = scoring.fit_calibration(sampled(*rows))
    rate = 41 / 50
    assert found.curves["code"].shares == (0.5, 1.0)
    assert found.curves["code"].accuracies == pytest.approx([(1 + rate) / 11, (40 + rate) / 41])
    assert scoring.calibrate(found.curves["chapter"], 0.75) == pytest.approx(
        np.mean(found.curves["code"].accuracies)
    )
    assert scoring.calibrate(found.curves["code"], 0.1) == found.curves["code"].accuracies[0]
    assert found.num_notes == 50 and found.errors["code"] < found.errors["code_raw"]


curves = st.lists(
    st.tuples(st.sampled_from([i / 9 for i in range(1, 10)]), st.booleans()),
    min_size=50,
    max_size=90,
)


@given(curves, st.integers(1, 60))
def test_a_calibration_never_falls_and_is_never_certain(rows, patients):
    found = scoring.fit_calibration(sampled(*rows, patients=patients))
    is_mixed = len({right for _, right in rows}) == 2
    for curve in found.curves.values():
        assert list(curve.accuracies) == sorted(curve.accuracies)
        assert all(0 < p < 1 for p in curve.accuracies) is is_mixed
    assert set(found.errors) == {
        f"{level}{kind}" for level in ("code", "category", "chapter") for kind in ("", "_raw")
    }


@pytest.mark.parametrize(("power", "is_used"), [(3, True), (1, False)])
def test_a_level_that_a_calibration_makes_worse_is_left_as_it_is(power, is_used):
    rng = np.random.default_rng(8)
    shares = rng.integers(0, 10, 60) / 9  # with power 1 the shares are probabilities already
    rows = sampled(*[(share, bool(rng.random() < share**power)) for share in shares])
    found = scoring.fit_calibration(rows)
    assert (found.errors["code"] <= found.errors["code_raw"]) is is_used
    for level in ("code", "category", "chapter"):
        is_better = found.errors[level] <= found.errors[f"{level}_raw"]
        assert (level in found.curves) is is_better
        assert scoring.is_calibrated(found, level) is is_better
    assert not scoring.is_calibrated(None, "code")


def test_overconfident_answers_are_put_right_on_other_notes():
    rng = np.random.default_rng(2)
    shares = rng.integers(3, 10, 4000) / 9
    right = rng.random(4000) < shares**3
    rows = list(zip(shares.tolist(), right.tolist(), strict=True))
    found = scoring.fit_calibration(sampled(*rows[:2000]))
    told = [scoring.calibrate(found.curves["code"], share) for share, _ in rows[2000:]]
    assert scoring.expected_calibration_error(told, right[2000:]) < 0.04
    assert scoring.expected_calibration_error(shares[2000:], right[2000:]) > 0.15


def test_too_few_usable_answers_calibrate_nothing():
    rows = [*sampled(*[(0.5, True)] * 49), Prediction("x", "x", "I2510", None)]
    with pytest.raises(DataError, match="got 49 of 50"):
        scoring.fit_calibration(rows)
