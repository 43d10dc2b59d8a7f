"""Rewards: hand-worked values, a conformance suite over the table, presets, hacks, verl."""

import importlib.util
import itertools
import json
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer import Typer
from typer.testing import CliRunner

from deepicd import codes
from deepicd.answers import FAULTS, parse_answer
from deepicd.cli.reward import command
from deepicd.errors import CodeError, ConfigError
from deepicd.rewards import PRESETS, REWARDS, build_reward, check_gold, resolve_weights
from deepicd.rewards.explanation import FAULT_TEXTS, compare_paths, score_text
from deepicd.rewards.hierarchy import hierarchy_credit
from deepicd.rewards.reference import find_pairs
from deepicd.rewards.verl_entry import compute_score


def load_adversarial():
    path = __file__.replace("test_rewards", "adversarial")
    spec = importlib.util.spec_from_file_location("adversarial", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CASES = load_adversarial()
THINK = CASES.THINK
PENALTIES = {"length", "reference_extra", "reference_empty"}
SIGNED = {"reference_match"}
OURS = [name for name in REWARDS if not name.startswith("reference")]
BY_CODE = {"outcome", "hierarchy"}
"""Parts that tell the exact code from every other."""

billable = st.sampled_from(codes.billable_codes())
pieces = st.sampled_from(
    [
        *("<think>", "</think>", "<diagnosis>", "</diagnosis>", "<", "</", " ", "\n", "I25.10"),
        *("i10", "I25", "I2599", "pain pain pain", "\u0000", "\u0130", "💥", "<|im_end|>"),
    ]
)
hostile = st.one_of(st.text(max_size=150), st.lists(pieces, max_size=25).map("".join))


def part(name, text, gold, *, note=None, curve=1.0):
    return REWARDS[name](curve)(parse_answer(text), gold, note)


def total(preset, text, gold="I2510", note=None):
    return build_reward(preset)(parse_answer(text), gold, note).total


# Hand-worked values


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
    assert part("format", text, "I10") == value


@pytest.mark.parametrize(
    ("think", "note", "value"),
    [
        (THINK, CASES.NOTE, 1),
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
        (CASES.NOTE, CASES.NOTE, 0),
        (CASES.GENERIC, CASES.NOTE, 0),
        ("something about pressure in this otherwise quite normal person", CASES.NOTE, 1 / 3),
        ("pressure at rest, no fever", CASES.NOTE, 1),
    ],
)
def test_reasoning_checks_length_repetition_order_grounding_and_copying(think, note, value):
    assert part("reasoning", CASES.build(think, "I25.10"), "I2510", note=note) == pytest.approx(
        value
    )


def test_reasoning_without_a_usable_code_earns_nothing():
    assert part("reasoning", THINK + "</think><diagnosis>I25</diagnosis>", "I2510") == 0
    assert part("reasoning", THINK + "</think>", "I2510") == 0


@pytest.mark.parametrize(
    ("size", "value"), [(0, 0), (3993, 0), (5993, -0.5), (7993, -1), (10**6, -1)]
)
def test_length_is_a_penalty_between_two_limits(size, value):
    assert part("length", "x" * size, "I10") == pytest.approx(value)


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


# Conformance: every entry of the table


@pytest.mark.parametrize("name", REWARDS)
@given(text=hostile, gold=billable, curve=st.floats(0.1, 8), note=st.one_of(st.none(), st.text()))
def test_parts_are_bounded_and_deterministic_on_any_text(name, text, gold, curve, note):
    value = part(name, text, gold, curve=curve, note=note)
    low, high = (-1, 0) if name in PENALTIES else (-1, 1) if name in SIGNED else (0, 1)
    assert math.isfinite(value) and low <= value <= high
    assert value == part(name, text, gold, curve=curve, note=note)


@pytest.mark.parametrize("name", OURS)
@given(gold=billable, code=billable, curve=st.floats(0.1, 8))
def test_dots_and_case_do_not_matter(name, gold, code, curve):
    spelled = [code, code.lower(), codes.dotted(code), f" {codes.dotted(code).lower()}\n"]
    values = {part(name, CASES.build(THINK, text), gold, curve=curve) for text in spelled}
    assert len(values) == 1 or name == "length"


@pytest.mark.parametrize("name", REWARDS)
@given(
    gold=billable, codes_given=st.lists(billable, min_size=2, max_size=8), curve=st.floats(0.1, 8)
)
def test_parts_are_monotone_in_depth_and_exact_is_greatest(name, gold, codes_given, curve):
    if name.startswith("reference"):
        codes_given = [c for c in codes_given if c[2].isdigit()]
        gold = gold if gold[2].isdigit() else "I2510"
    near = [*codes.siblings(gold)[:2], *codes.descendants(codes.category(gold))[:4]]
    texts = {}
    for code in {*codes_given, *filter(codes.is_billable, near)} - {gold}:
        depth = codes.shared_depth(codes.path(code), codes.path(gold))
        value = part(name, CASES.build(THINK, code), gold, curve=curve)
        texts.setdefault(depth, set()).add(value)
    exact = part(name, CASES.build(THINK, gold), gold, curve=curve)
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
        real = part(name, text.replace("CODE", wrong), gold)
        for code in missing:
            assert part(name, text.replace("CODE", code), gold) <= real


@pytest.mark.parametrize("name", REWARDS)
@pytest.mark.parametrize(
    "piece", ["<", "<think>", "\n<diagnosis>", "\n", "</think>\n", "I10 ", "\u0130"]
)
def test_hostile_text_of_any_size_is_scored(name, piece):
    size = 1_000_000 if name in OURS else 100_000
    value = part(name, piece * (size // len(piece)), "I10", note="pain " * 1000)
    assert value <= 0 or name == "reference_think"


# Presets


@pytest.mark.parametrize("preset", ["default", "strict"])
@given(gold=billable, other=billable)
def test_the_exact_code_is_strictly_best_and_independent_of_its_length(preset, gold, other):
    exact = total(preset, CASES.build(THINK, gold), gold)
    assert exact == pytest.approx(1)
    if other != gold:
        assert total(preset, CASES.build(THINK, other), gold) < 0.6


def test_default_ranks_answers_by_what_is_right():
    values = [total("default", text, note=CASES.NOTE) for text in CASES.HONEST.values()]
    assert values == pytest.approx([1, 1, 0.36, 0.29, 0.22, 0.15])
    assert total("default", "no idea") == 0


@pytest.mark.parametrize("note", [CASES.NOTE, None])
def test_default_ranks_every_honest_answer_above_every_hack(note):
    honest = {name: total("default", text, note=note) for name, text in CASES.HONEST.items()}
    hacks = {name: total("default", text, note=note) for name, text in CASES.HACKS.items()}
    worst = min(honest.values())
    if note is None:  # without the note, blind guesses cannot be told from honest mistakes
        blind = {"always the most common code (A41.9)", "unspecific code (R69, illness)"}
        blind.add("note copied, most common code")
        assert all(hacks.pop(name) <= worst for name in blind)
    assert max(hacks.values()) < worst


def test_default_gives_less_for_the_right_code_in_bad_form():
    exact = total("default", CASES.HONEST["exact"], note=CASES.NOTE)
    for text in CASES.RIGHT_CODE_BADLY_FORMED.values():
        assert 0.85 <= total("default", text, note=CASES.NOTE) < exact


def test_the_release_pays_for_hacks_that_default_does_not():
    hack, honest = CASES.HACKS["code that does not exist (I25.99)"], CASES.HONEST["same block"]
    assert total("reference", hack) > total("reference", honest)
    assert total("default", hack) < total("default", honest)


def test_the_table_in_the_docs_is_what_the_code_gives(root):
    shown = re.findall(
        r"^\| (.+?) \| (-?[\d.]+) \| (-?[\d.]+) \| (-?[\d.]+) \|$",
        (root / "docs/rewards.md").read_text(),
        re.MULTILINE,
    )
    cases = {**CASES.HONEST, **CASES.RIGHT_CODE_BADLY_FORMED, **CASES.HACKS}
    expected = [
        (
            name,
            *(
                f"{total(p, text, note=CASES.NOTE) + 0.0:.3g}"
                for p in ("default", "strict", "reference")
            ),
        )
        for name, text in cases.items()
    ]
    assert shown == expected


@given(text=hostile, form=hostile, gold=billable, wrong=billable)
def test_default_puts_any_real_code_above_any_unusable_answer(text, form, gold, wrong):
    unusable = total("default", text, gold) if parse_answer(text).code is None else 0
    assert unusable <= 0.025
    real = f"{form.replace('<', '')}</think><diagnosis>{wrong}</diagnosis>"
    assert total("default", real, gold) >= 0.05


# Configuration and gold labels


def test_weights_replace_the_presets_name_by_name():
    reward = build_reward("strict", {"outcome": 0.5, "hierarchy": 0.4, "format": 0})
    score = reward(parse_answer(CASES.build(THINK, "I25.2")), "I25.10")
    assert score.weights == {"format": 0, "outcome": 0.5, "hierarchy": 0.4}
    assert score.parts == {"format": 1, "outcome": 0, "hierarchy": pytest.approx(0.6)}
    assert score.total == pytest.approx(0.24)


@given(st.floats(0.1, 8))
def test_the_curve_moves_partial_credit_and_nothing_else(curve):
    reward = build_reward("default", hierarchy_curve=curve)
    half = reward(parse_answer(CASES.build(THINK, "I25.2")), "I2510").parts["hierarchy"]
    assert half == pytest.approx(0.6**curve)
    assert reward(parse_answer(CASES.build(THINK, "I25.10")), "I2510").total == pytest.approx(1)


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


# verl's entry


@pytest.mark.parametrize("preset", PRESETS)
@given(text=hostile)
def test_verl_gets_the_same_columns_for_every_answer(preset, text):
    result = compute_score("deepicd", text, "I25.10", {"note_id": "n1"}, preset=preset)
    names = list(PRESETS[preset])
    assert set(result) == {
        *("score", "parsable", "prediction", "gold", "note_id", "patient_id"),
        *(f"{kind}_{name}" for name in names for kind in ("reward", "weighted")),
    }
    assert result["score"] == pytest.approx(sum(result[f"weighted_{name}"] for name in names))
    assert result["parsable"] == float(result["prediction"] != "")


def test_verl_entry_takes_weights_curve_and_note():
    text = CASES.build(CASES.GENERIC, "I25.2")
    options = {
        "preset": "default",
        "weights": {"hierarchy": 0.5, "length": 0},
        "hierarchy_curve": 2.0,
    }
    result = compute_score(
        "d", text, "I2510", {"note": CASES.NOTE}, **options, reward_router_address="x"
    )
    assert result["weighted_hierarchy"] == pytest.approx(0.5 * 0.36)
    assert result["reward_reasoning"] == 0
    assert result["weighted_length"] == 0
    assert compute_score("d", text, "I2510", {"note": 7}, **options)["reward_reasoning"] == 1
    assert compute_score("d", text, "I2510", None, **options)["prediction"] == "I252"


# Explanations and the command


def test_every_fault_has_an_explanation():
    assert set(FAULT_TEXTS) == set(FAULTS)


def test_paths_are_shown_side_by_side():
    lines = compare_paths("I25.2", "I25.10")
    assert [line[6:8] for line in lines[:-1]] == ["= ", "= ", "= ", "  ", "  "]
    assert lines[-1] == "path    3 of 5 nodes of the gold path are right"


def test_a_whole_text_needs_no_prefill():
    whole = score_text("<think>" + CASES.HONEST["exact"], "I25.10")
    assert whole.score.total == score_text(CASES.HONEST["exact"], "I25.10").score.total == 1


def run(*arguments):
    app = Typer()
    app.command()(command)
    return CliRunner().invoke(app, list(arguments))


def test_command_prints_total_parts_and_why(tmp_path):
    note = tmp_path / "note.txt"
    note.write_text(CASES.NOTE)
    options = ("--gold", "I25.10", "--answer", CASES.HONEST["same block"], "--note", str(note))
    table = json.loads(run(*options, "--json").stdout)
    assert table["total"] == pytest.approx(0.29)
    assert table["code"] == "I214"
    assert run(*options).stdout.splitlines()[-1] == "total   0.29"
    explained = run(*options, "--explain").stdout
    assert "2 of 5 nodes" in explained and "hierarchy: 0.4 x 0.35 = 0.14" in explained
    bad = run("--gold", "I25.10", "--answer", "hm", "--explain", "--preset", "strict").stdout
    assert "no usable code (truncated)" in bad and "fault   truncated: the text ends" in bad


def test_command_refuses_a_missing_note():
    result = run("--gold", "I10", "--answer", "x", "--note", "/nonexistent/note.txt")
    assert "no note at /nonexistent/note.txt" in str(result.exception)
