"""How the ranking of answers moves with each weight."""

import pytest
from adversarial import GOLD, NOTE, THINK
from hypothesis import given
from hypothesis import strategies as st

from deepicd.config import Experiment, with_values
from deepicd.errors import ConfigError
from deepicd.rewards.candidates import Case
from deepicd.rewards.sensitivity import EXACT, HONEST, find_crossings, find_effects

CASE = Case(GOLD, (THINK,), NOTE)
OUTCOME, HIERARCHY = "rewards.weights.outcome", "rewards.weights.hierarchy"


def effects(search=None, **rewards):
    values = {f"rewards.{name}": value for name, value in rewards.items()}
    domains = {key: {"type": "uniform", "low": a, "high": b} for key, (a, b) in search.items()}
    experiment = with_values(Experiment(), {"sweep.search": domains, **values})
    return {effect.address: effect for effect in find_effects(experiment, [CASE])}


def test_totals_at_the_ends_are_those_worked_by_hand():
    found = effects({OUTCOME: (0.0, 1.0), HIERARCHY: (0.0, 2.0)})
    assert list(found) == [OUTCOME, HIERARCHY] and found[OUTCOME].own == 0.5
    # format 0.1, reasoning 0.05; I25.10 has five nodes, of which a code of its block has two.
    assert found[OUTCOME].totals[EXACT] == pytest.approx((0.5, 1.5))
    assert found[HIERARCHY].totals["same block"] == pytest.approx((0.15, 0.15 + 2 * 0.4))
    assert found[HIERARCHY].totals["other chapter"] == pytest.approx((0.15, 0.15))


def test_honest_answers_stand_in_their_order_where_depth_is_paid():
    found = effects({HIERARCHY: (0.0, 1.0)})[HIERARCHY]
    assert [name for name in found.ranking(1) if name in HONEST] == list(HONEST)
    assert {name for name in found.totals if name in HONEST} == set(HONEST)
    values = found.as_dict()
    assert values["ranking"] == [found.ranking(0), found.ranking(1)]
    assert values["totals"][EXACT] == list(found.totals[EXACT])


def test_a_form_that_is_paid_too_well_passes_the_right_code_in_bad_form():
    found = effects({"rewards.weights.format": (0.0, 2.0)})["rewards.weights.format"]
    passed = {(one.rises, one.falls): one.at for one in found.crossings}
    # The advertisement halves the form: 0.9 + w / 2 against 0.05 + 0.21 + w of the same category.
    (at,) = [at for pair, at in passed.items() if pair[1] == "right code, advertisement after it"
             and pair[0] == "same category"]  # fmt: skip
    same_category = found.totals["same category"][0]
    assert at == pytest.approx(2 * (0.9 - same_category))


def test_a_file_that_searches_no_weight_shows_each_of_its_own():
    found = effects({"training.learning_rate": (1e-6, 1e-5)}, preset="strict")
    ends = {address: (one.low, one.high, one.own) for address, one in found.items()}
    assert ends == {"rewards.weights.format": (0, 0.2, 0.1), OUTCOME: (0, 1.8, 0.9)}


def test_the_judge_is_left_out_and_other_components_may_be_added():
    search = {"rewards.weights.judge": (0.0, 1.0), "rewards.weights.length": (0.0, 1.0)}
    found = effects(search)
    assert list(found) == ["rewards.weights.length"] and found["rewards.weights.length"].own == 0
    low, high = found["rewards.weights.length"].totals["endless repetition, most common code"]
    assert high < low
    with pytest.raises(ConfigError, match="unknown reward preset 'defalt'"):
        effects({}, preset="defalt")


def test_whole_numbers_may_be_as_many_as_they_like():
    domain = {"type": "int", "low": 0, "high": 10**9}
    experiment = with_values(Experiment(), {"sweep.search": {OUTCOME: domain}})
    (found,) = find_effects(experiment, [CASE])
    assert (found.low, found.high) == (0.0, 1e9)


lines = st.dictionaries(
    st.sampled_from("abcdef"), st.tuples(st.floats(-2, 2), st.floats(-2, 2)), min_size=2
)


@given(lines, st.floats(0, 1))
def test_between_two_crossings_nobody_changes_places(values, share):
    ends = (0.0, 3.0)
    found = sorted(find_crossings(values, ends), key=lambda crossing: crossing.at)
    at = share * 3.0

    def lead(first, second, place):
        (base, slope), (other, other_slope) = values[first], values[second]
        return base + place * slope - (other + place * other_slope)

    for crossing in found:
        after = lead(crossing.rises, crossing.falls, at)
        assert (after > -1e-6) if at > crossing.at else (after < 1e-6)
    crossed = {frozenset((one.rises, one.falls)) for one in found}
    for first in values:
        for second in values:
            if first < second and frozenset((first, second)) not in crossed:
                start, end = lead(first, second, 0.0), lead(first, second, 3.0)
                assert start * end > -1e-6
