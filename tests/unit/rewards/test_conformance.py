"""Laws that every reward of the table keeps, on any text and any codes."""

import itertools
import math

import adversarial as cases
import pytest
from adversarial import THINK, billable, hostile, reward_value
from hypothesis import given, settings
from hypothesis import strategies as st

from deepicd import codes
from deepicd.rewards import REWARDS

PENALTIES = {"length", "reference_extra", "reference_empty"}
SIGNED = {"reference_match"}
OURS = [name for name in REWARDS if not name.startswith("reference")]
BY_CODE = {"outcome", "hierarchy"}
"""Parts that tell the exact code from every other."""


@pytest.mark.parametrize("name", REWARDS)
@given(
    text=hostile,
    gold=billable,
    curve=st.floats(0.1, 8),
    note=st.one_of(st.none(), st.text()),
)
def test_components_are_bounded_and_deterministic_on_any_text(name, text, gold, curve, note):
    value = reward_value(name, text, gold, curve=curve, note=note)
    low, high = (-1, 0) if name in PENALTIES else (-1, 1) if name in SIGNED else (0, 1)
    assert math.isfinite(value) and low <= value <= high
    assert value == reward_value(name, text, gold, curve=curve, note=note)


@pytest.mark.parametrize("name", OURS)
@given(gold=billable, code=billable, curve=st.floats(0.1, 8))
def test_dots_and_case_do_not_matter(name, gold, code, curve):
    spelled = [code, code.lower(), codes.dotted(code), f" {codes.dotted(code).lower()}\n"]
    values = {reward_value(name, cases.build(THINK, text), gold, curve=curve) for text in spelled}
    assert len(values) == 1 or name == "length"


@pytest.mark.parametrize("name", REWARDS)
@given(
    gold=billable,
    codes_given=st.lists(billable, min_size=2, max_size=8),
    curve=st.floats(0.1, 8),
)
def test_components_are_monotone_in_depth_and_exact_is_greatest(name, gold, codes_given, curve):
    if name.startswith("reference"):
        codes_given = [c for c in codes_given if c[2].isdigit()]
        gold = gold if gold[2].isdigit() else "I2510"
    near = [*codes.siblings(gold)[:2], *codes.descendants(codes.category(gold))[:4]]
    texts = {}
    for code in {*codes_given, *filter(codes.is_billable, near)} - {gold}:
        depth = codes.shared_depth(codes.path(code), codes.path(gold))
        value = reward_value(name, cases.build(THINK, code), gold, curve=curve)
        texts.setdefault(depth, set()).add(value)
    exact = reward_value(name, cases.build(THINK, gold), gold, curve=curve)
    others = {value for values in texts.values() for value in values}
    if name in BY_CODE | {"reference_match"}:
        assert all(value < exact for value in others)
    else:
        assert others <= {exact}
    if name != "reference_match":  # by letters, not by the tree: its fault
        ordered = [texts[depth] for depth in sorted(texts)]
        for lower, higher in itertools.pairwise(ordered):
            assert max(lower) <= min(higher)
            assert name != "hierarchy" or max(lower) < min(higher)


@pytest.mark.parametrize("name", OURS)
@settings(max_examples=25)
@given(gold=billable, wrong=billable, suffix=st.text("0123456789X", min_size=1, max_size=2))
def test_a_code_that_does_not_exist_never_earns_more_than_a_wrong_one(name, gold, wrong, suffix):
    missing = [gold + suffix, gold[:3] + suffix, gold[:-1] + suffix]
    missing = [code for code in missing if not codes.is_billable(code)]
    for wrapper in ("{}", "{} ", "x{}"):
        text = THINK + "</think>" + wrapper.format("<diagnosis>CODE</diagnosis>")
        real = reward_value(name, text.replace("CODE", wrong), gold)
        for code in missing:
            assert reward_value(name, text.replace("CODE", code), gold) <= real


@pytest.mark.parametrize("name", REWARDS)
@pytest.mark.parametrize(
    "piece", ["<", "<think>", "\n<diagnosis>", "\n", "</think>\n", "I10 ", "\u0130"]
)
def test_hostile_text_of_any_size_is_scored(name, piece):
    size = 1_000_000 if name in OURS else 100_000
    value = reward_value(name, piece * (size // len(piece)), "I10", note="pain " * 1000)
    assert value <= 0 or name == "reference_think"
