"""A step reports reward components, validation in the order of notes, agreement or an error."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd.errors import TrainingError
from deepicd.records import Prediction
from deepicd.scoring import read_predictions
from deepicd.training.grpo import metric_names
from deepicd.training.grpo.step_metrics import (
    answer_order,
    check_agreement,
    check_divergence,
    is_number,
    keep_predictions,
    mean_components,
    predictions_of,
    score_validation,
    unpack_reward_infos,
)

COLUMNS = {
    "note_id": ["b", "a", "c"],
    "patient_id": ["p2", "p1", "p1"],
    "gold": ["J189", "I10", "E119"],
    "prediction": ["J189", "", "E110"],
}


@given(order=st.permutations(range(12)))
def test_answers_are_ordered_by_prompt_and_number_however_they_came(order):
    names = [f"{prompt:012}_{session}_0" for prompt in (2, 10) for session in range(6)]
    assert sorted((names[i] for i in order), key=answer_order) == names


def test_the_tenth_answer_comes_after_the_second():
    assert answer_order("000_10_0") > answer_order("000_2_1")


def test_reward_parts_are_averaged_over_the_answers_that_have_them():
    infos = [
        {"reward_format": 1.0, "reward_judge": math.nan, "note_id": "a", "is_cut": True},
        {"reward_format": 0.0, "reward_judge": 0.5, "note_id": "b", "is_cut": False},
        {"reward_format": np.float32(0.5), "note_id": "c"},
    ]
    assert mean_components(infos) == pytest.approx(
        {
            "reward/reward_format/mean": 0.5,
            "reward/reward_format/std": math.sqrt(1 / 6),
            "reward/reward_judge/mean": 0.5,
            "reward/reward_judge/std": 0.0,
        }
    )


def test_a_part_that_no_answer_has_is_no_metric():
    assert mean_components([{"reward_judge": math.nan}, {}]) == {}


@pytest.mark.parametrize(
    ("value", "is_one"), [(1, True), (0.5, True), (np.int64(3), True), (True, False), ("1", False)]
)
def test_truth_values_and_words_are_no_metrics(value, is_one):
    assert is_number(value) is is_one


def test_extra_fields_are_read_bare_wrapped_or_missing():
    info = {"reward_format": 1.0}
    fields = [
        {"reward_extra_info": info},
        SimpleNamespace(data={"reward_extra_info": info}),
        SimpleNamespace(data=None),
        {"turn_scores": []},
    ]
    assert list(unpack_reward_infos(fields)) == [info, info, {}, {}]


def test_predictions_are_in_the_order_of_notes_and_an_unusable_answer_is_none():
    assert predictions_of(COLUMNS) == [
        Prediction(note_id="a", patient_id="p1", gold="I10", prediction=None),
        Prediction(note_id="b", patient_id="p2", gold="J189", prediction="J189"),
        Prediction(note_id="c", patient_id="p1", gold="E119", prediction="E110"),
    ]


def test_an_answer_that_was_not_scored_is_an_error_and_never_a_zero():
    columns = {**COLUMNS, "gold": ["J189", None, None]}
    with pytest.raises(TrainingError, match="2 of 3 validation answers carry no score"):
        predictions_of(columns)


def test_a_validation_without_answers_is_an_error():
    with pytest.raises(TrainingError, match="0 of 0 validation answers"):
        predictions_of({name: [] for name in COLUMNS})


def test_a_validation_has_scores_and_the_interval_of_the_one_that_is_maximised():
    scores = score_validation(predictions_of(COLUMNS))
    low, high = scores["hierarchical_f1_low"], scores["hierarchical_f1_high"]
    assert 0 <= low <= scores["hierarchical_f1"] <= high <= 1
    assert scores["has_few_patients"] == 1.0 and high - low > 0.5
    many = [Prediction(f"n{n}", f"p{n}", "J189", "J189") for n in range(20)]
    assert "has_few_patients" not in score_validation(many)


def test_predictions_of_a_validation_are_read_back_as_they_were(tmp_path):
    predictions = predictions_of(COLUMNS)
    keep_predictions(predictions, tmp_path / "validation" / "step_2.jsonl")
    assert read_predictions(tmp_path / "validation" / "step_2.jsonl") == predictions


@pytest.mark.parametrize("correlation", [0.99, 1.0])
def test_agreement_at_the_limit_or_above_goes_on(correlation):
    check_agreement({metric_names.PROBS_PEARSON: correlation}, 0.99, step=3)


def test_without_a_limit_nothing_is_checked():
    check_agreement({}, None, step=3)


@pytest.mark.parametrize("correlation", [0.9899, math.nan, None])
def test_disagreement_or_no_reading_ends_the_trial_with_step_and_limit(correlation):
    with pytest.raises(
        TrainingError, match=rf"correlate at {correlation} in step 3, below .*0\.99"
    ):
        check_agreement({metric_names.PROBS_PEARSON: correlation}, 0.99, step=3)


@pytest.mark.parametrize("divergence", [0.0, -1e-3, 1e-3])
def test_a_divergence_within_the_limit_goes_on(divergence):
    check_divergence({metric_names.PPO_KL: divergence}, step=3)


@pytest.mark.parametrize("divergence", [0.0011, -0.0011, math.nan, None])
def test_a_divergence_above_the_limit_or_no_reading_ends_the_trial(divergence):
    with pytest.raises(
        TrainingError, match=rf"diverge by {divergence} nats a token in step 3, more than 0\.001"
    ):
        check_divergence({metric_names.PPO_KL: divergence}, step=3)
