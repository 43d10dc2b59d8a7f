"""Presets, weights, gold labels: the reward that is built from its components."""

import math
import re

import adversarial as cases
import pytest
from adversarial import THINK, billable, hostile, total
from hypothesis import given
from hypothesis import strategies as st

from deepicd.answers import parse_answer
from deepicd.errors import CodeError, ConfigError
from deepicd.rewards import PRESETS, build_reward, check_gold, resolve_weights
from deepicd.rewards.verl_entry import compute_score


@pytest.mark.parametrize("preset", ["default", "strict"])
@given(gold=billable, other=billable)
def test_the_exact_code_is_strictly_best_and_independent_of_its_length(preset, gold, other):
    exact = total(preset, cases.build(THINK, gold), gold)
    assert exact == pytest.approx(1)
    if other != gold:
        assert total(preset, cases.build(THINK, other), gold) < 0.6


def test_default_ranks_answers_by_what_is_right():
    values = [total("default", text, note=cases.NOTE) for text in cases.HONEST.values()]
    assert values == pytest.approx([1, 1, 0.36, 0.29, 0.22, 0.15])
    assert total("default", "no idea") == 0


@pytest.mark.parametrize("note", [cases.NOTE, None])
def test_default_ranks_every_honest_answer_above_every_hack(note):
    honest = {name: total("default", text, note=note) for name, text in cases.HONEST.items()}
    hacks = {name: total("default", text, note=note) for name, text in cases.HACKS.items()}
    worst = min(honest.values())
    if note is None:  # without the note, blind guesses cannot be told from honest mistakes
        blind = {"always the most common code (A41.9)", "unspecific code (R69, illness)"}
        blind.add("note copied, most common code")
        assert all(hacks.pop(name) <= worst for name in blind)
    assert max(hacks.values()) < worst


def test_default_gives_less_for_the_right_code_in_bad_form():
    exact = total("default", cases.HONEST["exact"], note=cases.NOTE)
    for text in cases.RIGHT_CODE_BADLY_FORMED.values():
        assert 0.85 <= total("default", text, note=cases.NOTE) < exact


def test_the_release_pays_for_hacks_that_default_does_not():
    hack, honest = (
        cases.HACKS["code that does not exist (I25.99)"],
        cases.HONEST["same block"],
    )
    assert total("reference", hack) > total("reference", honest)
    assert total("default", hack) < total("default", honest)


def test_the_table_in_the_docs_is_what_the_code_gives(root):
    shown = re.findall(
        r"^\| (.+?) \| (-?[\d.]+) \| (-?[\d.]+) \| (-?[\d.]+) \|$",
        (root / "docs/rewards.md").read_text(),
        re.MULTILINE,
    )
    texts = {**cases.HONEST, **cases.RIGHT_CODE_BADLY_FORMED, **cases.HACKS}
    expected = [
        (
            name,
            *(
                f"{total(p, text, note=cases.NOTE) + 0.0:.3g}"
                for p in ("default", "strict", "reference")
            ),
        )
        for name, text in texts.items()
    ]
    assert shown == expected


@given(text=hostile, form=hostile, gold=billable, wrong=billable)
def test_default_puts_any_real_code_above_any_unusable_answer(text, form, gold, wrong):
    unusable = total("default", text, gold) if parse_answer(text).code is None else 0
    assert unusable <= 0.025
    real = f"{form.replace('<', '')}</think><diagnosis>{wrong}</diagnosis>"
    assert total("default", real, gold) >= 0.05


def test_weights_replace_the_presets_name_by_name():
    reward = build_reward("strict", {"outcome": 0.5, "hierarchy": 0.4, "format": 0})
    score = reward(parse_answer(cases.build(THINK, "I25.2")), "I25.10")
    assert score.weights == {"format": 0, "outcome": 0.5, "hierarchy": 0.4}
    assert score.components == {"format": 1, "outcome": 0, "hierarchy": pytest.approx(0.6)}
    assert score.total == pytest.approx(0.24)


@given(st.floats(0.1, 8))
def test_the_curve_moves_partial_credit_and_nothing_else(curve):
    reward = build_reward("default", hierarchy_curve=curve)
    half = reward(parse_answer(cases.build(THINK, "I25.2")), "I2510").components["hierarchy"]
    assert half == pytest.approx(0.6**curve)
    assert reward(parse_answer(cases.build(THINK, "I25.10")), "I2510").total == pytest.approx(1)


@pytest.mark.parametrize(
    ("preset", "weights", "curve", "message"),
    [
        (
            "defualt",
            {},
            1,
            r"unknown reward preset 'defualt' \(nearest: default\); known: default, ",
        ),
        ("default", {"hierachy": 1}, 1, r"unknown reward 'hierachy' \(nearest: hierarchy\)"),
        (
            "default",
            {"format": -1},
            1,
            r"rewards.weights.format must be a finite number >= 0; got -1",
        ),
        ("default", {"format": math.nan}, 1, "got nan"),
        ("default", {"format": math.inf}, 1, "got inf"),
        ("default", {"format": "much"}, 1, "got 'much'"),
        ("strict", {"format": 0, "outcome": 0}, 1, "must sum to more than 0"),
        ("default", {}, 0, "hierarchy_curve must be a finite number > 0; got 0"),
        ("default", {}, math.nan, "hierarchy_curve must be a finite number > 0; got nan"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(preset, weights, curve, message):
    with pytest.raises(ConfigError, match=message):
        build_reward(preset, weights, hierarchy_curve=curve)


@pytest.mark.parametrize("gold", [["I10"], None, 401, "I25", "I2599", "", "I10, I11"])
def test_a_gold_label_that_is_not_one_code_is_never_a_score(gold):
    with pytest.raises(CodeError, match="a gold label"):
        check_gold(gold)
    with pytest.raises(CodeError, match="a gold label"):
        compute_score("d", "x</think><diagnosis>I10</diagnosis>", gold)


def test_every_preset_names_rewards_that_exist():
    for preset, weights in PRESETS.items():
        assert resolve_weights(preset, {}) == weights
    for preset in ("default", "strict"):
        assert math.fsum(PRESETS[preset].values()) == pytest.approx(1)


chosen_weights = st.dictionaries(
    st.sampled_from(["format", "outcome", "hierarchy", "reasoning", "length"]),
    st.floats(0, 5),
    min_size=1,
).filter(lambda weights: sum(weights.values()) > 0.01)


@given(chosen_weights, hostile, billable)
def test_a_total_is_the_weighted_sum_of_its_components(weights, text, gold):
    score = build_reward("default", weights)(parse_answer(text), gold)
    assert score.weights == resolve_weights("default", weights)
    expected = sum(score.weights[name] * value for name, value in score.components.items())
    assert score.total == pytest.approx(expected, abs=1e-9)


@given(chosen_weights, st.floats(0.1, 10), billable, billable)
def test_weights_that_are_all_scaled_scale_the_total_and_no_component(weights, factor, code, gold):
    everything = resolve_weights("default", weights)
    scaled = {name: weight * factor for name, weight in everything.items()}
    answer = parse_answer(cases.build(THINK, code))
    plain = build_reward("default", everything)(answer, gold)
    other = build_reward("default", scaled)(answer, gold)
    assert other.total == pytest.approx(factor * plain.total)
    assert other.components == plain.components


@given(chosen_weights, billable, st.floats(0, 1), st.floats(0.1, 2))
def test_an_absent_judge_neither_raises_nor_lowers_an_answer_of_average_rating(
    weights, code, judged, judge_weight
):
    """The total without a rating is that of a judge who agrees with the other components."""
    reward = build_reward("default", {**weights, "judge": judge_weight})
    answer = parse_answer(cases.build(THINK, code))
    absent = reward(answer, "I2510")
    rated = reward(answer, "I2510", judged=judged)
    rest = sum(weight for name, weight in absent.weights.items() if name != "judge")
    average = (rated.total - judge_weight * judged) / rest
    assert absent.total == pytest.approx(average * (rest + judge_weight))
    assert (rated.total > absent.total) == (judged > average) or rated.total == pytest.approx(
        absent.total
    )


@given(hostile, billable)
def test_a_component_without_weight_is_reported_and_does_not_count(text, gold):
    answer = parse_answer(text)
    with_it = build_reward("strict", {"hierarchy": 0})(answer, gold)
    without = build_reward("strict")(answer, gold)
    assert with_it.total == pytest.approx(without.total)
    assert set(with_it.components) == {*without.components, "hierarchy"}
