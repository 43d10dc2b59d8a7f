"""What each reward function gives, worked by hand."""

import re

import adversarial as cases
import pytest
from adversarial import THINK, reward_value, total

from deepicd import codes
from deepicd.rewards.hierarchy import hierarchy_credit
from deepicd.rewards.reference import find_pairs


@pytest.mark.parametrize(
    ("code", "gold", "credit"),
    [
        ("I2510", "I2510", 1),
        ("I25110", "I2510", 4 / 5),  # chapter, block, category, I25.1
        ("I252", "I2510", 3 / 5),
        ("I214", "I2510", 2 / 5),
        ("I509", "I2510", 1 / 5),
        ("J189", "I2510", 0),
        (None, "I2510", 0),
        ("I10", "I10", 1),
        ("I110", "I10", 2 / 3),
        ("C509", "D0512", 1 / 5),  # another letter, the same chapter
        ("D649", "D0512", 0),  # the same letter, another chapter
        ("I4811", "I481", 3.5 / 4),  # a child of a retired gold code
        ("I481", "I4811", 4 / 5),  # its retired parent
        ("M1A00X0", "M1A9XX0", 3 / 5),
        ("S0262XA", "S02620A", 5 / 7),
    ],
)
def test_hierarchy_gives_the_share_of_the_gold_path(code, gold, credit):
    code = code and (code if codes.exists(code) else codes.children(code[:3])[0])
    assert hierarchy_credit(code, gold) == pytest.approx(credit)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x</think><diagnosis>I10</diagnosis>", 1),
        ("</think><diagnosis>I10</diagnosis>", 0.5),
        ("x</think>so <diagnosis>I10</diagnosis>", 0.5),
        ("x</think><diagnosis>I25</diagnosis>", 0.25),
        ("x</think><diagnosis>I2599</diagnosis>", 0.25),
        ("x</think>so <diagnosis>I2599</diagnosis>", 0),
        ("x</think><diagnosis>I10</diagnosis><diagnosis>I10</diagnosis>", 0),
        ("x", 0),
    ],
)
def test_format_has_four_steps(text, value):
    assert reward_value("format", text, "I10") == value


@pytest.mark.parametrize(
    ("think", "note", "value"),
    [
        (THINK, cases.NOTE, 1),
        (THINK, None, 1),
        ("", None, 0),
        ("chest pain", None, 2 / 5),
        ("one two three four five", None, 1),
        (" ".join(f"w{i}" for i in range(600)), None, 0.5),
        (" ".join(f"w{i}" for i in range(900)), None, 0),
        ("x " * 9000, None, 0),
        ("again and again " * 20, None, 0),
        ("I25.10 is what this must be, given " + THINK, None, 0),
        (THINK + " Hence I25.10.", None, 1),
        (cases.NOTE, cases.NOTE, 0),
        (cases.GENERIC, cases.NOTE, 0),
        ("something about pressure in this otherwise quite normal person", cases.NOTE, 1 / 3),
        ("pressure at rest, no fever", cases.NOTE, 1),
    ],
)
def test_reasoning_checks_length_repetition_order_grounding_and_copying(think, note, value):
    assert reward_value(
        "reasoning", cases.build(think, "I25.10"), "I2510", note=note
    ) == pytest.approx(value)


def test_reasoning_without_a_usable_code_earns_nothing():
    assert reward_value("reasoning", THINK + "</think><diagnosis>I25</diagnosis>", "I2510") == 0
    assert reward_value("reasoning", THINK + "</think>", "I2510") == 0


@pytest.mark.parametrize(
    ("size", "value"), [(0, 0), (3993, 0), (5993, -0.5), (7993, -1), (10**6, -1)]
)
def test_length_is_a_penalty_between_two_limits(size, value):
    assert reward_value("length", "x" * size, "I10") == pytest.approx(value)


@pytest.mark.parametrize(
    ("diagnosis", "gold", "points"),
    [
        ("I2510", "I2510", 75),
        ("I25.10", "I2510", 75),
        ("I251", "I2510", 42),
        ("I259", "I2510", 24),
        ("I2599", "I2510", 24),  # does not exist
        ("I20", "I2510", 6),
        ("I90", "I2510", 3),
        ("J10", "I2510", -1),
        ("i2510", "I2510", -1),
        ("heart", "I2510", -1),
        ("I1010", "I10", 30),
        ("I10", "I10", 45),
        ("C4A9", "C4A9", -1),  # a letter in third place
        ("S0262XA", "S0262XA", 105),
    ],
)
def test_reference_gives_the_points_of_the_release(diagnosis, gold, points):
    text = f"x</think>\n<diagnosis>{diagnosis}</diagnosis>"
    assert total("reference", text, gold) == pytest.approx(points + 1)
    assert total("reference", text.removeprefix("x"), gold) == pytest.approx(points)


def test_reference_counts_pairs_thinks_and_emptiness():
    pair = "x</think><diagnosis>I10</diagnosis>"
    assert total("reference", "", "I10") == pytest.approx(-6)
    assert total("reference", "x", "I10") == pytest.approx(-1)
    assert total("reference", pair + "\n<diagnosis>I10</diagnosis>" * 3, "I10") == pytest.approx(43)
    assert total("reference", pair + "<diagnosis>I10</diagnosis>", "I10") == pytest.approx(46)


@pytest.mark.parametrize("seed", range(4))
def test_reference_finds_the_pairs_that_its_pattern_finds(seed):
    import random

    def inner(tag):
        return rf"<{tag}>([^<]*(?:<(?!/?{tag}>)[^<]*)*)</{tag}>"

    pattern = rf"^\s*(?:{inner('think')})?\s*{inner('diagnosis')}"
    rng = random.Random(seed)
    tokens = ["<think>", "</think>", "<diagnosis>", "</diagnosis>", "\n", " ", "a", "<", " \n "]
    for _ in range(3000):
        text = "<think>" + "".join(rng.choices(tokens, k=rng.randrange(14)))
        assert [tuple(pair) for pair in find_pairs(text)] == re.findall(pattern, text, re.MULTILINE)
