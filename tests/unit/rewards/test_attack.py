"""Attacks on rewards: planted hacks are found and named, rewards without one are left alone."""

import json
import re
from dataclasses import replace

import adversarial as cases
import pytest
from adversarial import GOLD, NOTE, THINK, billable
from hypothesis import given, settings
from hypothesis import strategies as st

from deepicd import codes
from deepicd.answers import parse_answer
from deepicd.config import Experiment, with_values
from deepicd.errors import ConfigError
from deepicd.records import Score
from deepicd.rewards import build_reward
from deepicd.rewards.attack import attack_rewards, weighted
from deepicd.rewards.candidates import Case, dishonest_answers, honest_codes
from deepicd.rewards.searched import OWN, build_rewards

CASE = Case(GOLD, (THINK,), NOTE)


def attack(reward, *chosen, seed=1):
    return attack_rewards({"it": reward}, chosen or [CASE], seed=seed)


def plant(is_paid, points=1.0):
    """The default reward and a part that pays a hack."""
    honest = build_reward("default")

    def reward(answer, gold, note=None, *, judged=None):
        score = honest(answer, gold, note)
        value = float(is_paid(answer))
        return Score(
            score.total + points * value,
            {**score.components, "planted": value},
            {**score.weights, "planted": points},
        )

    return reward


def has(*faults):
    return lambda answer: set(faults) <= set(answer.faults)


PLANTED = {
    "always the most common code (A41.9)": lambda answer: answer.code == "A419",
    "note copied, most common code": lambda answer: NOTE in answer.text,
    "unspecific code (R69, illness)": lambda answer: answer.code == "R69",
    "header (I25)": has("not_billable"),
    "code that does not exist (I25.99)": lambda answer: (
        "unknown_code" in answer.faults and answer.raw_code.startswith("I25")
    ),
    "first letter and digits (I99.99)": lambda answer: (
        "unknown_code" in answer.faults and answer.raw_code.startswith("I9")
    ),
    "eight codes in eight blocks": lambda answer: (
        len(set(re.findall(r"<diagnosis>(.*?)</diagnosis>", answer.text))) == 8
    ),
    "the same code twenty times": lambda answer: answer.text.count("<diagnosis>I25.10<") == 20,
    "twenty pairs": has("several_diagnoses", "several_thinks"),
    "several codes in one block": lambda answer: "," in (answer.raw_code or ""),
    "diagnosis inside the reasoning": lambda answer: (
        "nested_diagnosis" in answer.faults and "<diagnosis>I25.10" in answer.text
    ),
    "code only in the reasoning": lambda answer: (
        "no_diagnosis" in answer.faults and "I25.10" in answer.think
    ),
    "endless reasoning, cut off": lambda answer: (
        "truncated" in answer.faults and len(answer.text) > 4000
    ),
    "tag spam": lambda answer: answer.text.count("<diagnosis>") > 100,
    "nothing": has("empty"),
    "exact, named before the reasoning": lambda answer: "I25.10 because" in answer.think,
    "exact, note copied as reasoning": lambda answer: NOTE in answer.text,
    "exact, endless repetition": lambda answer: (
        answer.code == GOLD and len(set(answer.think.split())) * 20 < len(answer.think.split())
    ),
    "exact, no reasoning": has("empty_think"),
    "exact, advertisement after it": lambda answer: answer.text.endswith("full marks please."),
}
"""Answer of the docs → what a reward looks at that pays for it."""


def test_every_answer_of_the_docs_that_tries_to_earn_is_planted():
    texts = {**cases.RIGHT_CODE_BADLY_FORMED, **cases.HACKS}
    assert PLANTED.keys() == texts.keys()
    for name, text in texts.items():
        assert PLANTED[name](parse_answer(text)), name
    for text in cases.HONEST.values():
        assert not any(is_paid(parse_answer(text)) for is_paid in PLANTED.values())


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_hack_is_found_and_its_part_is_named(name):
    found = attack(plant(PLANTED[name], points=0.2)).found
    assert found and {one.by for one in found} == {("planted",)}
    for one in found:
        assert PLANTED[name](parse_answer(one.answer.text))
        assert "by planted" in one.as_dict()["why"]


def test_the_search_finds_what_nobody_listed():
    reward = plant(lambda answer: answer.text.count("best best") > 0, points=0.5)
    found = attack(reward).found
    assert not any("best best" in one.text for one in dishonest_answers(CASE))
    assert found and all(one.name.startswith("searched") for one in found)
    assert all("best best" in one.answer.text and one.by == ("planted",) for one in found)


@pytest.mark.parametrize("preset", ["default", "strict"])
def test_what_is_shipped_pays_no_answer_more_than_an_honest_one(preset):
    found = attack(build_reward(preset), CASE, replace(CASE, note=None))
    assert found.found == () and found.honest_best == pytest.approx(1)
    assert found.num_notes == 2 and found.num_answers > 1000


def test_the_faults_of_the_release_are_found():
    found = {one.name: one for one in attack(build_reward("reference")).found}
    assert {one.by for one in found.values()} == {("reference_match",)}
    assert found["code that does not exist"].score.total == pytest.approx(25)
    assert found["right code first of several blocks"].score.total == pytest.approx(76)
    assert found["first letter and digits"].rival.total == pytest.approx(0)
    assert "the same code twenty times" in found and "nothing" not in found


our_weights = st.fixed_dictionaries(
    {name: st.floats(0, 2) for name in ("format", "reasoning", "length")}
)


@settings(max_examples=20)
@given(our_weights, st.floats(0.01, 2), st.floats(0, 2), st.floats(0.2, 5), billable)
def test_no_weights_of_ours_that_pay_for_the_code_can_be_hacked(
    weights, outcome, hierarchy, curve, gold
):
    weights = {**weights, "outcome": outcome, "hierarchy": hierarchy}
    reward = build_reward("default", weights, hierarchy_curve=curve)
    assert attack(reward, Case(gold, (THINK,))).found == ()


@settings(max_examples=20)
@given(our_weights.filter(lambda weights: weights["format"] > 0.01), billable)
def test_weights_that_do_not_pay_for_the_code_are_always_found(weights, gold):
    reward = build_reward("default", {**weights, "outcome": 0, "hierarchy": 0})
    found = attack(reward, Case(gold, (THINK,))).found
    assert any(one.name.startswith("another code") for one in found)
    assert {part for one in found for part in one.by} <= {"format", "reasoning"}
    assert "as much as the honest right answer" in found[-1].as_dict()["why"]


@given(billable)
def test_honest_codes_are_right_to_the_depth_that_they_stand_for(gold):
    gold_path = codes.path(gold)
    found = honest_codes(Case(gold, (THINK,)))
    assert found[len(gold_path)] == [gold] and min(found) == 0
    for depth, near in found.items():
        for code in near:
            assert codes.is_billable(code)
            assert codes.shared_depth(codes.path(code), gold_path) == depth


@given(billable)
def test_what_is_called_a_code_that_does_not_exist_exists_in_no_release(gold):
    texts = {one.name: one.text for one in dishonest_answers(Case(gold, (THINK,)))}
    for name in ("code that does not exist", "first letter and digits"):
        assert parse_answer(texts[name]).reason == "unknown_code"
    assert parse_answer(texts.get("header", texts["nothing"])).reason in {"not_billable", "empty"}


def test_equal_seeds_give_equal_findings_and_none_shows_text_of_the_note():
    reward = plant(lambda answer: "reversible anterior ischemia" in answer.text, points=0.5)
    reports = [attack(reward, seed=seed).as_dict() for seed in (3, 3, 4)]
    assert reports[0] == reports[1] and reports[0]["found"]
    shown, words = json.dumps(reports[0]), NOTE.split()
    for start in range(len(words) - 2):
        assert " ".join(words[start : start + 3]) not in shown
    whole = json.dumps(attack(reward, seed=3).as_dict(is_text_shown=True))
    assert "reversible anterior ischemia" in whole


def test_a_finding_has_the_points_that_its_parts_add_up_to():
    for one in attack(build_reward("reference")).found:
        points = sum(weighted(one.score, part) for part in one.score.components)
        assert points == pytest.approx(one.score.total) and one.excess > 0


JUDGE_ALONE = {"format": 0, "outcome": 0, "judge": 1}


def experiment(search, **rewards):
    values = {f"rewards.{name}": value for name, value in rewards.items()}
    uniform = {key: {"type": "uniform", "low": a, "high": b} for key, (a, b) in search.items()}
    return with_values(Experiment(), {"sweep.search": uniform, **values})


def test_the_rewards_of_a_sweep_are_its_own_and_those_of_every_corner():
    weights = ("rewards.weights.outcome", "rewards.weights.hierarchy")
    built = build_rewards(experiment({weights[0]: (0.3, 1), weights[1]: (0, 1)}))
    exact = parse_answer(cases.HONEST["exact"])
    totals = {name: reward(exact, GOLD).total for name, reward in built.items()}
    assert next(iter(totals)) == OWN and len(totals) == 5
    assert sorted(totals.values()) == pytest.approx([0.45, 1, 1.15, 1.45, 2.15])
    assert list(build_rewards(experiment({}))) == [OWN]


def test_a_corner_without_any_weight_is_passed_over():
    built = build_rewards(experiment({"rewards.weights.outcome": (0, 1)}, preset="strict"))
    assert len(built) == 3
    alone = experiment({"rewards.weights.outcome": (0, 1)}, weights={"format": 0}, preset="strict")
    assert list(build_rewards(alone)) == [OWN, "rewards.weights.outcome = 1.0"]
    with pytest.raises(ConfigError, match="only the judge has a weight"):
        build_rewards(experiment({}, preset="strict", weights=JUDGE_ALONE))
    with pytest.raises(ConfigError, match="unknown reward 'formt'"):
        build_rewards(experiment({"rewards.weights.formt": (0, 1)}))
    with pytest.raises(ConfigError, match="unknown reward preset 'defalt'"):
        build_rewards(experiment({}, preset="defalt"))


@settings(max_examples=5)
@given(st.floats(0, 1), st.floats(0, 1))
def test_what_is_found_between_the_corners_is_found_at_one_of_them(first, second):
    search = {"rewards.weights.reference_match": (0, 3), "rewards.weights.outcome": (0, 4)}
    inside = {"reference_match": 3 * first, "outcome": 4 * second}
    corners = attack_rewards(build_rewards(experiment(search)), [CASE], seed=1).found
    between = attack(build_reward("default", inside)).found
    listed = {one.name for one in corners}
    assert {one.name for one in between if not one.name.startswith("searched")} <= listed
