"""Two groups of trials and their difference: what is compared, and what is claimed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd.config import parse_experiment
from deepicd.report.answer import sentence
from deepicd.report.factors import (
    common_step,
    compare,
    credit_split,
    group_seeds,
    merge_alike,
    splits_of,
)

SEARCH = {
    "rewards.preset": {"type": "choice", "values": ["strict", "default"]},
    "rewards.weights.hierarchy": {"type": "uniform", "low": 0.0, "high": 1.0},
    "training.learning_rate": {"type": "loguniform", "low": 1e-5, "high": 1e-3},
}
DOMAINS = parse_experiment({"sweep": {"search": SEARCH}}, "here").sweep.search


def presets(*values: str) -> dict[str, dict[str, str | int]]:
    """Trials that differ in something else, too."""
    return {f"t{i}": {"rewards.preset": value, "other": i} for i, value in enumerate(values)}


def say(scores: dict[str, float], params: dict) -> str:
    runs = group_seeds(params, scores)
    split = splits_of({trial: params[trial] for trial in runs}, DOMAINS)
    [one] = compare(split, runs)
    return sentence(one, metric="hierarchical F1", step=4)


def test_a_difference_beyond_its_interval_is_stated_with_it():
    params = presets(*["default"] * 3, *["strict"] * 3)
    # means 0.6 and 0.4, variances 0.0001: s.e. 0.00816, 4 degrees of freedom, t = 2.776
    text = say({"t0": 0.59, "t1": 0.6, "t2": 0.61, "t3": 0.39, "t4": 0.4, "t5": 0.41}, params)
    assert "is higher, +0.200 [+0.177, +0.223] (3 against 3 trials)" in text
    assert "default against strict" in text


def test_an_interval_that_holds_0_decides_nothing():
    params = presets(*["default"] * 3, *["strict"] * 3)
    text = say({"t0": 0.5, "t1": 0.6, "t2": 0.4, "t3": 0.39, "t4": 0.4, "t5": 0.61}, params)
    assert "not decided by these 3 against 3 trials" in text and "higher" not in text


@pytest.mark.parametrize("values", [("default", "strict"), ("default", "default", "strict")])
def test_one_trial_on_a_side_decides_nothing_however_far_it_is(values):
    params = presets(*values)
    scores = {trial: float(own["rewards.preset"] == "default") for trial, own in params.items()}
    assert "too few to know their spread" in say(scores, params)


@given(st.lists(st.integers(0, 64), min_size=4, max_size=4), st.integers(2, 6))
def test_more_comparisons_never_narrow_an_interval(values, count):
    params = presets("default", "default", "strict", "strict")
    scores = {f"t{i}": value / 64 for i, value in enumerate(values)}
    [split] = splits_of(params, DOMAINS)
    runs = {trial: [score] for trial, score in scores.items()}
    [alone], among = compare([split], runs), compare([split] * count, runs)[0]
    if alone.low is not None:
        assert among.low <= alone.low <= alone.high <= among.high


def test_a_weight_is_parted_at_0_and_another_number_at_its_median():
    params = {
        f"t{i}": {"rewards.weights.hierarchy": weight, "training.learning_rate": rate}
        for i, (weight, rate) in enumerate([(0.0, 1e-4), (0.2, 3e-4), (0.0, 2e-4), (0.9, 4e-4)])
    }
    weight, rate = splits_of(params, DOMAINS)
    assert (weight.first, weight.second) == ("above 0", "0")
    assert (weight.first_trials, weight.second_trials) == (("t1", "t3"), ("t0", "t2"))
    assert (rate.first, rate.first_trials) == ("above 0.0002", ("t1", "t3"))
    [merged] = merge_alike([weight, rate])
    assert merged.alike == ("training.learning_rate: above 0.0002 against at most 0.0002",)


def test_a_factor_that_parts_the_trials_the_other_way_round_is_named_so():
    params = {
        "a": {"rewards.preset": "strict", "training.learning_rate": 1e-3},
        "b": {"rewards.preset": "default", "training.learning_rate": 1e-4},
    }
    [merged] = merge_alike(splits_of(params, DOMAINS))
    assert merged.factor == "rewards.preset" and merged.first == "default"
    assert merged.alike == ("training.learning_rate: at most 0.0001 against above 0.0001",)


def test_hierarchical_credit_is_asked_only_where_it_differs():
    assert credit_split({"a": 0.3, "b": 0.1}) is None
    split = credit_split({"a": 0.0, "b": 0.1, "c": 0.0})
    assert split is not None and split.first_trials == ("b",) and split.second_trials == ("a", "c")


def test_trials_are_compared_at_the_last_step_that_all_of_them_reached():
    curves = {"a": [(2, 0.2), (4, 0.3)], "b": [(2, 0.2)], "failed": []}
    assert common_step(curves) == 2
    assert common_step({"a": [(2, 0.1)], "b": [(4, 0.3)]}) is None and common_step({}) is None


def test_two_configurations_are_compared_by_their_seeds():
    params = {
        f"t{i}": {"rewards.preset": ["strict", "default"][i % 2], "seed": i // 2} for i in range(6)
    }
    scores = {trial: 0.4 + 0.2 * (i % 2) + 0.01 * (i // 2) for i, trial in enumerate(params)}
    text = say(scores, params)
    assert "is higher, +0.200 [+0.177, +0.223] (3 against 3 seeds of one configuration" in text


def test_more_than_two_configurations_count_once_each_whatever_their_seeds():
    params = {
        "a": {"rewards.preset": "strict", "seed": 1},
        "b": {"rewards.preset": "strict", "seed": 2},
        "c": {"rewards.preset": "default", "other": 1},
        "d": {"rewards.preset": "default", "other": 2},
    }
    text = say({"a": 0.1, "b": 0.11, "c": 0.9, "d": 0.91}, params)
    assert "not decided by these 2 against 1 configurations, means over their seeds" in text


def test_trials_that_differ_in_their_seed_only_are_one_configuration():
    params = {"a": {"x": 1, "seed": 1}, "b": {"x": 1, "seed": 2}, "c": {"x": 2, "seed": 1}}
    assert group_seeds(params, {"a": 0.2, "b": 0.4, "c": 0.1}) == {"a": [0.2, 0.4], "c": [0.1]}
