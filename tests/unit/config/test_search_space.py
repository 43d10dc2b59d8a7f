"""Search spaces: addresses, conditions and ends of domains are checked when the file is read."""

import pytest

from deepicd.config import (
    dump_experiment,
    parse_experiment,
    read_experiment,
    with_values,
)
from deepicd.errors import ConfigError


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ({"training.learning_rte": {"type": "uniform", "low": 0.1, "high": 1}}, "learning_rate"),
        ({"training.rollout_n": {"type": "int", "low": 0, "high": 8}}, r"training\.rollout_n"),
        ({"training.train_batch_size": {"type": "choice", "values": [64, 96]}}, "multiple of"),
        ({"training.learning_rate": {"type": "loguniform", "low": 0, "high": 1}}, "low > 0"),
        ({"training.learning_rate": {"type": "uniform", "low": 2, "high": 1}}, "low < high"),
        ({"training.rollout_n": {"type": "int", "low": 8, "high": 2}}, "low <= high"),
        ({"training.rollout_n": {"type": "choice", "values": []}}, r"search\.training\.rollout_n"),
        ({"training.learning_rate": {"type": "gauss", "low": 2, "high": 1}}, "loguniform"),
        ({"training": {"type": "choice", "values": [1]}}, "training"),
        ({"training.rollout_n": {"type": "uniform", "low": 4, "high": 8}}, "fractional part"),
    ],
)
def test_a_search_address_that_no_trial_could_use_is_refused_before_any_trial(search, words):
    with pytest.raises(ConfigError, match=words):
        parse_experiment({"sweep": {"search": search}}, "here")


FLAG, NUMBER = "training.use_kl_in_reward", "training.rollout_n"

PARENTS = {
    FLAG: {"type": "choice", "values": [False, True]},
    NUMBER: {"type": "int", "low": 2, "high": 4},
    "training.learning_rate": {"type": "uniform", "low": 1e-5, "high": 1e-3},
}


def kl_coef(**when):
    return {"training.kl_coef": {"type": "uniform", "low": 0, "high": 1, "when": when}}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (kl_coef(seed=1), "names seed, which is not searched; add seed to"),
        (kl_coef(**{"training.learning_rate": 1e-4}), "which is uniform; .* type choice or int"),
        (kl_coef(**{FLAG: "yes"}), r"with \['yes'\]; its own values are \(False, True\)"),
        (kl_coef(**{NUMBER: [2, 5]}), r"with \[5\]; its own values are 2 to 4"),
        (kl_coef(**{NUMBER: []}), "with no value"),
        ({FLAG: {**PARENTS[FLAG], "when": {FLAG: True}}}, "go round in a circle"),
        (
            {
                FLAG: {**PARENTS[FLAG], "when": {NUMBER: 2}},
                NUMBER: {**PARENTS[NUMBER], "when": {FLAG: True}},
            },
            "go round in a circle; remove one",
        ),
        (
            {
                FLAG: {**PARENTS[FLAG], "when": {NUMBER: 2}},
                **kl_coef(**{FLAG: True, NUMBER: [3, 4]}),
            },
            "training.kl_coef would never be drawn",
        ),
    ],
)
def test_a_condition_that_cannot_be_decided_or_never_holds_is_refused(more, words):
    with pytest.raises(ConfigError, match=words):
        parse_experiment({"sweep": {"search": {**PARENTS, **more}}}, "here")


def test_ends_of_a_domain_are_tried_only_where_its_condition_holds():
    batch = {"type": "choice", "values": [64, 96]}
    mini = {"type": "choice", "values": [32], "when": {"training.train_batch_size": [64, 96]}}
    both = {"training.train_batch_size": batch, "training.ppo_mini_batch_size": mini}
    table = {"training": {"ppo_mini_batch_size": 32}, "sweep": {"search": both}}
    assert set(parse_experiment(table, "here").sweep.search) == set(both)
    only_with_64 = {**mini, "values": [64], "when": {"training.train_batch_size": 64}}
    table["sweep"] = {"search": {**both, "training.ppo_mini_batch_size": only_with_64}}
    assert parse_experiment(table, "here")
    with_96_too = {**only_with_64, "when": {}}
    table["sweep"] = {"search": {**both, "training.ppo_mini_batch_size": with_96_too}}
    assert parse_experiment(table, "here"), "unconditional parameters are tried one by one"
    with_96 = {**only_with_64, "when": {"training.train_batch_size": 96}}
    table["sweep"] = {"search": {**both, "training.ppo_mini_batch_size": with_96}}
    with pytest.raises(ConfigError, match="must be a multiple of"):
        parse_experiment(table, "here")


def test_an_experiment_with_conditions_reads_back_equal(tmp_path):
    search = {**PARENTS, **kl_coef(**{FLAG: True})}
    experiment = parse_experiment({"sweep": {"search": search}}, "here")
    assert experiment.sweep.search["training.kl_coef"].when == {FLAG: (True,)}
    dump_experiment(experiment, tmp_path / "experiment.json")
    assert read_experiment(tmp_path / "experiment.json") == experiment


def test_a_search_over_reward_weights_and_verl_keys_is_accepted():
    search = {
        "rewards.weights.hierarchy": {"type": "uniform", "low": 0.0, "high": 2.0},
        "training.learning_rate": {"type": "loguniform", "low": 1e-6, "high": 1e-4},
        "training.rollout_n": {"type": "choice", "values": [4, 8]},
        "verl.actor_rollout_ref.actor.clip_ratio_high": {
            "type": "uniform",
            "low": 0.2,
            "high": 0.3,
        },
    }
    table = {"rewards": {"weights": {"outcome": 1.0}}, "sweep": {"search": search}}
    assert set(parse_experiment(table, "here").sweep.search) == set(search)


def test_replacing_a_value_keeps_the_search_space():
    table = {"sweep": {"search": {"seed": {"type": "int", "low": 1, "high": 2}}}}
    experiment = parse_experiment(table, "here")
    changed = with_values(experiment, {"training.total_steps": 7})
    assert changed.sweep.search == experiment.sweep.search and changed.training.total_steps == 7
