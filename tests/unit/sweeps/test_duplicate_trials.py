"""Which trials can be told apart, and when two that cannot must stop a sweep."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepicd.config import parse_experiment
from deepicd.errors import SweepError
from deepicd.sweeps.callbacks.duplicate_trials import (
    StopDuplicateTrials,
    describe_start,
    without_effect,
)
from deepicd.training.grpo.fingerprint import FirstUpdates, as_number, digest_weights

HIERARCHY = "rewards.weights.hierarchy"
CURVE = "rewards.hierarchy_curve"
RATE = "training.learning_rate"


def rows(*, first=1, prints=(11.0, 12.0, 13.0), score=0.5, **metrics):
    """Reports of a trial whose every step moved its weights."""
    found, names = {}, {name.replace("__", "/"): value for name, value in metrics.items()}
    reports = []
    for number, value in enumerate(prints, 1):
        found[f"fingerprint/{number}"] = value
        step = first + number - 1
        reports.append({"step": step, "critic/score/mean": score, **names, **found})
    return reports


def silent(one, other, reports=None, others=None):
    """Parameters that do nothing in two trials with these values."""
    reports = rows() if reports is None else reports
    others = reports if others is None else others
    return without_effect(describe_start("a", one, reports), describe_start("b", other, others))


@given(st.integers(0, 2), st.integers(0, 19), st.booleans())
def test_one_weight_moved_by_its_last_bit_is_another_digest(tensor, place, is_up):
    weights = [torch.linspace(-1, 1, 20) + number for number in range(3)]
    before = digest_weights(weights)
    assert digest_weights([one.clone() for one in weights]) == before
    one = weights[tensor]
    one[place] = torch.nextafter(one[place], torch.tensor(math.inf if is_up else -math.inf))
    assert digest_weights(weights) != before


def test_parts_without_elements_and_trained_parameters_are_digested():
    weights = torch.ones(3, 2, dtype=torch.bfloat16)
    trained = torch.nn.Parameter(weights.clone())
    assert digest_weights([torch.zeros(0), trained]) == digest_weights([weights])


def test_a_fingerprint_is_exact_as_a_float():
    assert as_number("ffffffffffff" + "0" * 52) == 2**48 - 1
    assert as_number("000000000001" + "f" * 52) == 1.0


def test_only_steps_with_a_gradient_that_moved_the_weights_count():
    digests = iter(["a0", "a0", "b0", "c0", "d0"])
    updates = FirstUpdates(lambda: next(digests) + "0" * 62)
    moving, still = {"actor/grad_norm": 0.3}, {"actor/grad_norm": 0.0}
    assert dict(updates.after(moving)) == {}  # a warm-up's rate of 0
    assert dict(updates.after(moving)) == {"fingerprint/1": 0xB0 * 2.0**40}
    assert len(updates.after(still)) == 1  # weight decay at most
    assert len(updates.after(moving)) == 2
    assert len(updates.after(moving)) == len(updates.after(moving)) == 3


@pytest.mark.parametrize("name", [RATE, "training.temperature", "seed", "serving.window"])
def test_equal_weights_under_unequal_values_are_found(name):
    assert silent({name: 1}, {name: 2}) == [name]
    assert silent({name: 1}, {name: 1}) == []
    assert silent({name: 1}, {name: 2}, others=rows(prints=(11.0, 12.0, 14.0))) == []


def test_values_that_float32_cannot_tell_apart_are_one():
    assert silent({RATE: 1e-4}, {RATE: 1e-4 * (1 + 1e-8)}) == []


def test_a_value_that_only_one_trial_has_is_not_compared():
    assert silent({RATE: 1e-4, "training.kl_coef": 0.1}, {RATE: 1e-4}) == []


@pytest.mark.parametrize(
    ("name", "metrics", "has_shown"),
    [
        (HIERARCHY, {}, False),
        (HIERARCHY, {"reward__reward_hierarchy__std": 0.0}, False),
        (HIERARCHY, {"reward__reward_hierarchy__std": 0.1}, True),
        ("training.clip_ratio", {"actor__pg_clipfrac": 0.0}, False),
        ("training.clip_ratio", {"actor__pg_clipfrac": 0.01}, True),
        ("training.kl_coef", {"actor__reward_kl_penalty": 0.0}, False),
        ("training.kl_coef", {"actor__reward_kl_penalty": -1e-3}, True),
        ("training.kl_loss_coef", {}, False),
        ("training.kl_loss_coef", {"actor__kl_loss": 1e-3}, True),
        ("training.use_kl_loss", {"actor__kl_loss": 1e-3, "actor__kl_coef": 0.0}, False),
        ("training.use_kl_loss", {"actor__kl_loss": 1e-3, "actor__kl_coef": 0.1}, True),
        ("training.max_response_tokens", {"response_length__clip_ratio": 0.0}, False),
        ("training.max_response_tokens", {"response_length__clip_ratio": 0.2}, True),
        ("data.max_prompt_tokens", {}, False),
        ("verl.trainer.log_val_generations", {}, False),
    ],
)
def test_a_parameter_that_acts_under_a_condition_is_compared_when_it_held(name, metrics, has_shown):
    assert silent({name: 1.0}, {name: 2.0}, rows(**metrics)) == [name] * has_shown


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=64))
def test_credit_of_zeros_and_ones_is_no_evidence_about_its_exponent(credits):
    assert silent({CURVE: 1.0}, {CURVE: 2.0}, rows(**credit(credits))) == []
    if len(credits) < 8:
        assert silent({CURVE: 1.0}, {CURVE: 2.0}, rows(**credit([0.4, *credits]))) == [CURVE]


def credit(values):
    column = torch.tensor(values, dtype=torch.float64)
    mean, std = float(column.mean()), float(column.std(correction=0))
    return {
        "reward__reward_hierarchy__mean": mean,
        "reward__reward_hierarchy__std": std,
        "reward__weighted_hierarchy__std": 1.0,
    }


def test_rewards_that_differ_show_a_weight_though_the_gradient_does_not():
    varied = {"reward__reward_hierarchy__std": 0.1}
    assert (
        silent({HIERARCHY: 0.1}, {HIERARCHY: 0.9}, rows(**varied), rows(score=0.6, **varied)) == []
    )


def report(compare, name, params, reports):
    trial = SimpleNamespace(trial_id=name, config=params)
    for row in [{"step": 0}, *reports]:
        compare.on_trial_result(0, [], trial, row)
        compare.on_step_end(0, [])


def test_a_sweep_stops_at_the_third_update_and_says_which_trials_and_parameters():
    compare = StopDuplicateTrials()
    report(compare, "a", {RATE: 1e-4, HIERARCHY: 0.2}, rows())
    report(compare, "b", {RATE: 1e-4, HIERARCHY: 0.2}, rows())
    report(compare, "c", {RATE: 2e-4, HIERARCHY: 0.2}, rows()[:2])
    with pytest.raises(
        SweepError, match=r"a and c differ in .*rate \(0.0001 and 0.0002\), .* Take"
    ):
        report(compare, "c", {RATE: 2e-4, HIERARCHY: 0.2}, rows())


def test_a_trial_that_goes_on_from_a_checkpoint_is_not_compared():
    compare = StopDuplicateTrials()
    report(compare, "a", {RATE: 1e-4}, rows())
    report(compare, "b", {RATE: 2e-4}, [{"step": 5}, {"step": 6}])


def test_a_sweep_that_goes_on_knows_the_trials_before():
    before, after = StopDuplicateTrials(), StopDuplicateTrials()
    report(before, "a", {RATE: 1e-4}, rows())
    after.set_state(before.get_state())
    report(after, "a", {RATE: 1e-4}, rows())
    with pytest.raises(SweepError, match="a and b"):
        report(after, "b", {RATE: 2e-4}, rows())


def test_the_comparison_can_be_switched_off():
    assert parse_experiment({}, "here").sweep.compare_fingerprints
    table = {"sweep": {"compare_fingerprints": False}}
    assert not parse_experiment(table, "here").sweep.compare_fingerprints
