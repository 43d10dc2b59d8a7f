"""Values of an experiment: what cannot work is refused, and nothing changes afterwards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd.config import (
    Experiment,
    parse_experiment,
)
from deepicd.errors import ConfigError


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ({"train_batch_size": 64, "ppo_mini_batch_size": 48}, "must be a multiple of"),
        (
            {
                "train_batch_size": 8,
                "ppo_mini_batch_size": 8,
                "rollout_n": 3,
                "ppo_micro_batch_size_per_gpu": 7,
            },
            r"8 x 3\) must be a multiple of .*1 x 7\).*micro-batch",
        ),
        (
            {
                "train_batch_size": 6,
                "ppo_mini_batch_size": 6,
                "rollout_n": 3,
                "num_gpus": 4,
                "ppo_micro_batch_size_per_gpu": 1,
            },
            r"6 x 3\) must be a multiple of .*4 x 1\)",
        ),
    ],
)
def test_batches_that_do_not_divide_are_refused(training, words):
    with pytest.raises(ConfigError, match=words):
        parse_experiment({"training": training}, "here")


@given(
    micro=st.integers(1, 8),
    gpus=st.integers(1, 4),
    per_gpu=st.integers(1, 6),
    rollouts=st.integers(2, 8),
    minis=st.integers(1, 4),
    stray=st.integers(0, 3),
)
def test_batches_pass_exactly_when_verl_can_split_them(
    micro, gpus, per_gpu, rollouts, minis, stray
):
    mini = per_gpu * micro * gpus + stray
    training = {
        "train_batch_size": mini * minis,
        "ppo_mini_batch_size": mini,
        "rollout_n": rollouts,
        "num_gpus": gpus,
        "ppo_micro_batch_size_per_gpu": micro,
    }
    if (mini * rollouts) % (gpus * micro) == 0:
        assert parse_experiment({"training": training}, "here").training.rollout_n == rollouts
    else:
        with pytest.raises(ConfigError, match="must be a multiple of GPUs"):
            parse_experiment({"training": training}, "here")


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"outcome": -0.1}, r"rewards\.weights\.outcome must be a number >= 0; got -0\.1"),
        ({"outcome": float("nan")}, "finite number"),
        ({"outcome": float("inf")}, "finite number"),
    ],
)
def test_reward_weights_that_cannot_steer_are_refused(weights, words):
    with pytest.raises(ConfigError, match=words):
        parse_experiment({"rewards": {"weights": weights}}, "here")


@pytest.mark.parametrize("shares", [(0.5, 0.2, 0.2, 0.2), (1.0, 0.0, 0.0, 0.0), (1.2, -0.2, 0, 0)])
def test_split_shares_leave_every_split_something(shares):
    with pytest.raises(ConfigError, match="split_shares must be above 0 and sum to 1"):
        parse_experiment({"data": {"split_shares": shares}}, "here")


def test_mimic_needs_its_folder():
    with pytest.raises(ConfigError, match=r"source 'mimic' needs data\.root"):
        parse_experiment({"data": {"source": "mimic"}}, "here")


def test_experiments_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Experiment().seed = 3


def test_a_weight_of_zero_alone_is_a_valid_ablation_of_the_preset():
    rewards = parse_experiment({"rewards": {"weights": {"hierarchy": 0.0}}}, "here").rewards
    assert rewards.weights == {"hierarchy": 0.0}
