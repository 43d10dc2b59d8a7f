"""What acts on a trial: every address of an experiment is decided, and what does nothing is refused
with the reason.
"""

import re

import pytest

from deepicd.config import Choice, known_addresses, parse_experiment
from deepicd.errors import ConfigError
from deepicd.sweeps.search.validation import validate
from deepicd.training.grpo.effects import RULES, idle_reason, rule_of

UNIFORM = {"type": "uniform", "low": 0.1, "high": 0.9}
BOTH = {"type": "choice", "values": [True, False]}
ONE_UPDATE = {"train_batch_size": 64, "ppo_mini_batch_size": 64}
PART = "rewards.weights.outcome"


def searching(*addresses, domain=UNIFORM, sampler="tpe", **table):
    search = addresses[0] if isinstance(addresses[0], dict) else dict.fromkeys(addresses, domain)
    return parse_experiment({**table, "sweep": {"search": search, "sampler": sampler}}, "here")


def test_every_address_of_an_experiment_is_decided():
    addresses = known_addresses()
    assert all(rule_of(address) is not None for address in addresses)
    stale = {
        name
        for name in RULES
        if not any(f"{known}.".startswith(f"{name.rstrip('.')}.") for known in addresses)
    }
    assert not stale, "rules of addresses that are gone"
    with pytest.raises(ConfigError, match="nobody has said"):
        rule_of("training.brand_new")


@pytest.mark.parametrize(
    "address",
    [
        "seed",
        "data.curriculum",
        "training.learning_rate",
        "training.rollout_n",
        "rewards.weights.hierarchy",
        "verl.actor_rollout_ref.actor.grad_clip",
    ],
)
def test_what_a_trial_reads_may_be_searched(address):
    assert idle_reason(parse_experiment({}, "here"), address) == ""


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("name", "no trial reads it"),
        ("data.num_notes", "built once per run"),
        ("model.hidden_size", "start model is built once"),
        ("sft.learning_rate", "same SFT model"),
        ("training.total_steps", "trials of one length"),
        ("training.num_gpus", "same for every trial"),
        ("sweep.num_trials", "rules the sweep"),
        ("promotion.min_difference", "after the sweep"),
        ("serving.port", "after the sweep"),
        ("rewards.judge.model", "asked in the same way"),
        ("verl.actor_rollout_ref.actor.clip_ratio_high", r"set by training\.clip_ratio"),
        ("verl.critic.optim.lr", "no critic"),
    ],
)
def test_what_no_trial_reads_is_refused_with_the_reason(address, words):
    assert re.search(words, idle_reason(parse_experiment({}, "here"), address))


@pytest.mark.parametrize(
    ("address", "refused", "accepted"),
    [
        ("training.kl_coef", {}, {"training": {"use_kl_in_reward": True}}),
        ("training.kl_loss_coef", {}, {"training": {"use_kl_loss": True}}),
        (
            "training.clip_ratio",
            {"training": ONE_UPDATE},
            {"training": {"ppo_mini_batch_size": 32}},
        ),
        (
            "training.clip_ratio",
            {"training": ONE_UPDATE},
            {"verl": {"actor_rollout_ref.actor.ppo_epochs": 2}},
        ),
        (
            "training.clip_ratio",
            {"training": ONE_UPDATE},
            {"training": {**ONE_UPDATE, "bypass_mode": True}},
        ),
        (
            "rewards.hierarchy_curve",
            {"rewards": {"preset": "strict"}},
            {"rewards": {"preset": "strict", "weights": {"hierarchy": 0.1}}},
        ),
        (
            PART,
            {"rewards": {"preset": "strict", "weights": {"format": 0}}},
            {"rewards": {"preset": "strict"}},
        ),
        (
            "rewards.weights.judge",
            {"rewards": {"preset": "strict", "weights": {"format": 0, "outcome": 0}}},
            {},
        ),
    ],
)
def test_some_addresses_act_under_a_condition_only(address, refused, accepted):
    assert idle_reason(searching(address, **refused), address)
    assert not idle_reason(searching(address, **accepted), address)


@pytest.mark.parametrize(
    ("address", "switch"),
    [
        ("training.kl_coef", "training.use_kl_in_reward"),
        ("training.kl_loss_coef", "training.use_kl_loss"),
    ],
)
def test_a_switch_that_is_searched_too_makes_its_coefficient_act(address, switch):
    experiment = searching({address: UNIFORM, switch: BOTH})
    validate(experiment)
    assert isinstance(experiment.sweep.search[switch], Choice)


def test_a_coefficient_that_is_drawn_only_while_its_switch_is_off_is_refused():
    address, switch = "training.kl_coef", "training.use_kl_in_reward"
    for value, acts in ((True, True), (False, False)):
        experiment = searching({address: UNIFORM | {"when": {switch: value}}, switch: BOTH})
        assert (idle_reason(experiment, address) == "") is acts


def test_lengths_of_prompts_may_be_searched_while_no_note_is_left_out():
    address = "data.max_prompt_tokens"
    assert idle_reason(parse_experiment({}, "here"), address) == ""
    left_out = parse_experiment({"data": {"overlong": "filter"}}, "here")
    assert "which validation notes" in idle_reason(left_out, address)


def test_a_sweep_over_what_does_nothing_is_refused_before_it_starts():
    with pytest.raises(ConfigError, match=r"kl_coef would not change .* is false in every trial"):
        validate(searching("training.kl_coef"))
    with pytest.raises(ConfigError, match=r"unknown reward 'hierachy' \(nearest: hierarchy\)"):
        validate(searching("rewards.weights.hierachy"))


def test_batches_that_divide_at_both_ends_and_not_between_are_refused():
    domain = {"type": "int", "low": 2, "high": 4}
    batches = {"ppo_mini_batch_size": 8, "ppo_micro_batch_size_per_gpu": 16, "train_batch_size": 8}
    with pytest.raises(ConfigError, match=r"rollout_n = 3: .*multiple of GPUs"):
        validate(searching("training.rollout_n", domain=domain, training=batches))


def test_batches_that_divide_one_by_one_and_not_together_are_refused():
    search = {
        "training.ppo_micro_batch_size_per_gpu": {"type": "choice", "values": [16, 64]},
        "training.rollout_n": {"type": "choice", "values": [4, 8]},
    }
    batches = {"ppo_mini_batch_size": 8, "train_batch_size": 8, "ppo_micro_batch_size_per_gpu": 16}
    with pytest.raises(ConfigError, match=r"= 64, training\.rollout_n = 4: "):
        validate(searching(search, training=batches | {"rollout_n": 8}))
    search["training.ppo_micro_batch_size_per_gpu"]["when"] = {"training.rollout_n": 8}
    validate(searching(search, training=batches | {"rollout_n": 8}))


def test_weights_that_can_all_be_zero_are_refused_where_that_point_can_be_drawn():
    range_from_zero = {"type": "uniform", "low": 0.0, "high": 1.0}
    search = dict.fromkeys(("rewards.weights.hierarchy", PART), range_from_zero)
    alone = {"preset": "strict", "weights": {"format": 0}}
    validate(searching(search, rewards=alone))
    with pytest.raises(ConfigError, match="at the least of every weight"):
        validate(searching(search, rewards=alone, sampler="grid"))
