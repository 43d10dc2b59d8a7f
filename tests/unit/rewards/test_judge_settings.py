"""Which settings of a judge are refused, and what its absence does to a total."""

import pytest

from deepicd.answers import parse_answer
from deepicd.config import JudgeConfig, RewardConfig, parse_experiment
from deepicd.errors import ConfigError, refuse
from deepicd.rewards import build_reward, find_faults
from deepicd.rewards.judge import Judge

NOTE = "Chief complaint: crushing substernal chest pain since this morning."
ANSWER = parse_answer("chest pain since morning</think><diagnosis>I21.4</diagnosis>")


def test_a_judge_needs_an_endpoint():
    with pytest.raises(ConfigError, match=r"needs rewards\.judge\.url"):
        Judge(JudgeConfig())


@pytest.mark.parametrize(
    ("judge", "words"),
    [
        ({"url": "file:///etc/passwd", "model": "m"}, "must be like http://"),
        ({"url": "127.0.0.1:80", "model": "m"}, "must be like http://"),
        ({"url": "https://api.example.org/v1", "model": "m"}, "not in rewards.judge.allowed_hosts"),
        ({"url": "http://127.0.0.1@api.example.org/v1", "model": "m"}, "to api.example.org"),
        ({"url": "http://127.0.0.1:8001/v1"}, "rewards.judge.model is not"),
    ],
)
def test_an_endpoint_that_may_not_see_notes_is_refused_when_the_file_is_read(judge, words):
    with pytest.raises(ConfigError, match=words):
        parse_experiment({"rewards": {"judge": judge}}, "here")


def test_another_host_needs_to_be_named_twice():
    hosts = ["judge.cluster.local"]
    table = {"url": "https://judge.cluster.local/v1", "model": "m", "allowed_hosts": hosts}
    assert parse_experiment({"rewards": {"judge": table}}, "here").rewards.judge.model == "m"


def test_a_weight_without_a_judge_is_refused_before_anything_starts():
    with pytest.raises(ConfigError, match=r"rewards\.weights\.judge is 0\.2 and there is no judge"):
        refuse(find_faults(RewardConfig(weights={"judge": 0.2})))
    with pytest.raises(ConfigError, match="there is no judge"):
        refuse(find_faults(RewardConfig(), searched=["judge"]))


def test_rewards_without_a_judge_need_no_endpoint():
    refuse(find_faults(RewardConfig(weights={"judge": 0.0, "length": 0.1}), searched=["hierarchy"]))


def test_a_reward_of_the_judge_alone_must_stop_when_it_is_down():
    weights = {"judge": 1.0, "format": 0, "reasoning": 0, "hierarchy": 0, "outcome": 0}
    judge = JudgeConfig(url="http://127.0.0.1:1/v1", model="m")
    with pytest.raises(ConfigError, match="when_down = 'stop'"):
        refuse(find_faults(RewardConfig(weights=weights, judge=judge)))
    refuse(
        find_faults(
            RewardConfig(weights=weights, judge=judge.model_copy(update={"when_down": "stop"}))
        )
    )


def test_an_unknown_preset_is_refused_before_anything_starts():
    with pytest.raises(ConfigError, match=r"unknown reward preset 'defualt' \(nearest: default\)"):
        refuse(find_faults(RewardConfig(preset="defualt")))


def test_an_absent_judge_leaves_the_others_at_the_sum_of_all_weights():
    reward = build_reward("strict", {"judge": 1.0})
    rated = reward(ANSWER, "I214", NOTE, judged=1.0)
    absent = reward(ANSWER, "I214", NOTE)
    assert rated.total == pytest.approx(2.0) == absent.total
    assert rated.components["judge"] == 1.0 and "judge" not in absent.components
    assert reward(ANSWER, "I214", NOTE, judged=0.0).total == pytest.approx(1.0)
