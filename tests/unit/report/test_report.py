"""What a sweep's report computes and claims, from hand-made records."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd.config import parse_experiment
from deepicd.errors import MissingError
from deepicd.pipeline.sweep_report import find_pareto_fronts, write_sweep_report
from deepicd.records import Trial
from deepicd.report.answer import sentence
from deepicd.report.contour import draw_pair, pair_of
from deepicd.report.costs import phase_table, seconds_by_phase
from deepicd.report.curves import draw_curves
from deepicd.report.early_stopping import stopping_table
from deepicd.report.factors import (
    common_step,
    compare,
    credit_split,
    group_seeds,
    merge_alike,
    splits_of,
)
from deepicd.report.html import PALETTE
from deepicd.report.parameters import axis, importance
from deepicd.report.pareto import pareto_section
from deepicd.report.sweep import recorded_rows

SEARCH = {
    "rewards.preset": {"type": "choice", "values": ["strict", "default"]},
    "rewards.weights.hierarchy": {"type": "uniform", "low": 0.0, "high": 1.0},
    "training.learning_rate": {"type": "loguniform", "low": 1e-5, "high": 1e-3},
}
EXPERIMENT = parse_experiment(
    {
        "name": "credit",
        "question": "Does <hierarchical> credit beat strict?",
        "training": {"total_steps": 4, "validate_every": 2},
        "sweep": {"num_trials": 4, "grace_steps": 2, "search": SEARCH},
    },
    "here",
)
DOMAINS = EXPERIMENT.sweep.search
KEY = "validation/hierarchical_f1"


def presets(*values: str) -> dict[str, dict[str, str | int]]:
    """Trials that differ in something else, too."""
    return {f"t{i}": {"rewards.preset": value, "other": i} for i, value in enumerate(values)}


def say(scores: dict[str, float], params: dict) -> str:
    runs = group_seeds(params, scores)
    split = splits_of({trial: params[trial] for trial in runs}, DOMAINS)
    [one] = compare(split, runs)
    return sentence(one, metric="hierarchical F1", step=4)


def test_a_difference_beyond_its_interval_is_stated_with_it():
    params = presets(*["default"] * 3, *["strict"] * 3)
    # means 0.6 and 0.4, variances 0.0001: s.e. 0.00816, 4 degrees of freedom, t = 2.776
    text = say({"t0": 0.59, "t1": 0.6, "t2": 0.61, "t3": 0.39, "t4": 0.4, "t5": 0.41}, params)
    assert "is higher, +0.200 [+0.177, +0.223] (3 against 3 trials)" in text
    assert "default against strict" in text


def test_an_interval_that_holds_0_decides_nothing():
    params = presets(*["default"] * 3, *["strict"] * 3)
    text = say({"t0": 0.5, "t1": 0.6, "t2": 0.4, "t3": 0.39, "t4": 0.4, "t5": 0.61}, params)
    assert "not decided by these 3 against 3 trials" in text and "higher" not in text


@pytest.mark.parametrize("values", [("default", "strict"), ("default", "default", "strict")])
def test_one_trial_on_a_side_decides_nothing_however_far_it_is(values):
    params = presets(*values)
    scores = {trial: float(own["rewards.preset"] == "default") for trial, own in params.items()}
    assert "too few to know their spread" in say(scores, params)


@given(st.lists(st.integers(0, 64), min_size=4, max_size=4), st.integers(2, 6))
def test_more_comparisons_never_narrow_an_interval(values, count):
    params = presets("default", "default", "strict", "strict")
    scores = {f"t{i}": value / 64 for i, value in enumerate(values)}
    [split] = splits_of(params, DOMAINS)
    runs = {trial: [score] for trial, score in scores.items()}
    [alone], among = compare([split], runs), compare([split] * count, runs)[0]
    if alone.low is not None:
        assert among.low <= alone.low <= alone.high <= among.high


def test_a_weight_is_parted_at_0_and_another_number_at_its_median():
    params = {
        f"t{i}": {"rewards.weights.hierarchy": weight, "training.learning_rate": rate}
        for i, (weight, rate) in enumerate([(0.0, 1e-4), (0.2, 3e-4), (0.0, 2e-4), (0.9, 4e-4)])
    }
    weight, rate = splits_of(params, DOMAINS)
    assert (weight.first, weight.second) == ("above 0", "0")
    assert (weight.first_trials, weight.second_trials) == (("t1", "t3"), ("t0", "t2"))
    assert (rate.first, rate.first_trials) == ("above 0.0002", ("t1", "t3"))
    [merged] = merge_alike([weight, rate])
    assert merged.alike == ("training.learning_rate: above 0.0002 against at most 0.0002",)


def test_a_factor_that_parts_the_trials_the_other_way_round_is_named_so():
    params = {
        "a": {"rewards.preset": "strict", "training.learning_rate": 1e-3},
        "b": {"rewards.preset": "default", "training.learning_rate": 1e-4},
    }
    [merged] = merge_alike(splits_of(params, DOMAINS))
    assert merged.factor == "rewards.preset" and merged.first == "default"
    assert merged.alike == ("training.learning_rate: at most 0.0001 against above 0.0001",)


def test_hierarchical_credit_is_asked_only_where_it_differs():
    assert credit_split({"a": 0.3, "b": 0.1}) is None
    split = credit_split({"a": 0.0, "b": 0.1, "c": 0.0})
    assert split is not None and split.first_trials == ("b",) and split.second_trials == ("a", "c")


def test_trials_are_compared_at_the_last_step_that_all_of_them_reached():
    curves = {"a": [(2, 0.2), (4, 0.3)], "b": [(2, 0.2)], "failed": []}
    assert common_step(curves) == 2
    assert common_step({"a": [(2, 0.1)], "b": [(4, 0.3)]}) is None and common_step({}) is None


def test_two_configurations_are_compared_by_their_seeds():
    params = {
        f"t{i}": {"rewards.preset": ["strict", "default"][i % 2], "seed": i // 2} for i in range(6)
    }
    scores = {trial: 0.4 + 0.2 * (i % 2) + 0.01 * (i // 2) for i, trial in enumerate(params)}
    text = say(scores, params)
    assert "is higher, +0.200 [+0.177, +0.223] (3 against 3 seeds of one configuration" in text


def test_more_than_two_configurations_count_once_each_whatever_their_seeds():
    params = {
        "a": {"rewards.preset": "strict", "seed": 1},
        "b": {"rewards.preset": "strict", "seed": 2},
        "c": {"rewards.preset": "default", "other": 1},
        "d": {"rewards.preset": "default", "other": 2},
    }
    text = say({"a": 0.1, "b": 0.11, "c": 0.9, "d": 0.91}, params)
    assert "not decided by these 2 against 1 configurations, means over their seeds" in text


def test_trials_that_differ_in_their_seed_only_are_one_configuration():
    params = {"a": {"x": 1, "seed": 1}, "b": {"x": 1, "seed": 2}, "c": {"x": 2, "seed": 1}}
    assert group_seeds(params, {"a": 0.2, "b": 0.4, "c": 0.1}) == {"a": [0.2, 0.4], "c": [0.1]}


def test_fronts_are_of_what_is_pursued_or_else_of_everything_known():
    objectives = {"hierarchical_f1": 0.5, "response_length": 30.0}
    trials = [
        Trial("a", {}, "finished", 4, {}, objectives=objectives),
        Trial("b", {}, "finished", 4, {}, objectives={**objectives, "hierarchical_f1": 0.4}),
    ]
    both = ("hierarchical_f1", "response_length")
    assert find_pareto_fronts(trials, EXPERIMENT) == {both: {"a"}}
    assert find_pareto_fronts([], EXPERIMENT) == {}
    section = pareto_section(trials, find_pareto_fronts(trials, EXPERIMENT))
    assert section.text[0].startswith("1 of 2 trials") and len(section.figures) == 1
    assert section.tables[0].rows == [{"trial": "a", "hierarchical F1": 0.5, "response length": 30}]


def test_importance_finds_the_value_that_decides_and_knows_chance():
    params = {
        f"t{i}": {"rewards.weights.hierarchy": i / 19, "training.learning_rate": 1e-5 * (i % 7 + 1)}
        for i in range(20)
    }
    scores = {trial: own["rewards.weights.hierarchy"] for trial, own in params.items()}
    first, second = importance(params, scores, search=DOMAINS)
    assert first.address == "rewards.weights.hierarchy" and first.share > first.chance
    assert first.share + second.share == pytest.approx(1)
    few = {trial: scores[trial] for trial in list(scores)[:9]}
    assert importance(params, few, search=DOMAINS) == []


def test_a_trial_without_a_conditional_value_stands_below_the_axis():
    drawn = axis("training.learning_rate", [1e-5, None, 1e-3], DOMAINS["training.learning_rate"])
    assert drawn["values"] == pytest.approx([-5, -5.2, -3]) and "–" in drawn["ticktext"]
    chosen = axis("rewards.preset", ["default", None], DOMAINS["rewards.preset"])
    assert chosen["values"] == [1, -1]


def test_a_surface_is_drawn_between_enough_trials_only():
    pair = ["rewards.weights.hierarchy", "training.learning_rate"]
    params = {f"t{i}": {pair[0]: (i % 4) / 4, pair[1]: 1e-5 * (1 + i)} for i in range(12)}
    scores = {trial: float(i) for i, trial in enumerate(params)}

    def kinds(scored: dict[str, float]) -> list[str]:
        figure = draw_pair(params, scored, pair, search=DOMAINS, metric="hierarchical_f1")
        return [trace.type for trace in figure.plot.data]

    assert pair_of(["rewards.preset", *pair], DOMAINS) == pair
    assert kinds(scores) == ["contour", "scatter"]
    assert kinds(dict(list(scores.items())[:6])) == ["scatter"]


def test_seconds_go_to_phases_and_a_repeated_step_is_paid_twice():
    first = [
        {"time_total_s": 5.0},
        {"time_total_s": 60.0, "start/seconds": 20.0, "timing_s/gen": 10.0, "timing_s/ref": 2.0},
        {
            "time_total_s": 80.0,
            "start/seconds": 20.0,
            "timing_s/gen": 10.0,
            "timing_s/testing": 5,
        },
    ]
    again = [{"time_total_s": 30.0, "start/seconds": 8.0, "timing_s/gen": 10.0}]
    found = seconds_by_phase([first, again])
    assert found["start"] == 28 and found["rollout"] == 30 and found["update"] == 2
    assert found["validation"] == 5 and found["other"] == 110 - 65
    table = phase_table({"a": found}, num_gpus=2)
    phases = [row["phase"] for row in table.rows]
    assert phases == ["start", "rollout", "update", "validation", "other"]
    assert sum(row["GPU-hours"] for row in table.rows) == pytest.approx(110 * 2 / 3600, abs=1e-3)


def test_each_stopping_step_counts_who_came_and_who_was_stopped():
    ends = {"a": ("stopped", 2), "b": ("stopped", 5), "c": ("finished", 10), "d": ("failed", 3)}
    trials = [Trial(name, {}, state, steps, {}) for name, (state, steps) in ends.items()]
    rows = [list(row.values()) for row in stopping_table(trials, [2, 4, 8]).rows]
    assert rows == [[2, 4, 1, "a"], [4, 2, 1, "b"], [8, 1, 0, ""]]


def test_many_trials_are_one_grey_line_behind_the_best():
    histories = {f"t{i}": [{"step": 1, "x": i}, {"step": 2, "x": i}] for i in range(30)}
    plot = draw_curves(histories, "x", title="x", caption="x").plot
    assert len(plot.data) == 1 + len(PALETTE) and plot.data[0].name == "23 other trials"


def test_what_trials_recorded_differently_is_counted():
    records = [
        {"trial": name, "code": {"commit": commit}, "machines": [{"cpu": "x"}]}
        for name, commit in (("a", "1"), ("b", "2"), ("c", "1"))
    ]
    assert recorded_rows(records) == [
        {"what": "code.commit", "value": "1 (2 trials); 2 (1 trials)"},
        {"what": "machines.0.cpu", "value": "x"},
    ]


def write_run(root: Path, trials: dict[str, tuple[dict, list[dict]]]) -> Path:
    root.mkdir()
    (root / "experiment.json").write_text(EXPERIMENT.model_dump_json())
    for name, (params, rows) in trials.items():
        folder = root / "sweep" / "tune" / name
        folder.mkdir(parents=True)
        (folder / "params.json").write_text(json.dumps(params))
        (folder / "result.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def rows_of(*scores: float) -> list[dict]:
    return [
        {"step": 2 * i, KEY: score, "checkpoint_path": "a/b", "reward/reward_hierarchy/mean": 0.1}
        for i, score in enumerate(scores, start=1)
    ]


def test_a_report_is_written_while_a_sweep_goes_on(tmp_path):
    given = {"rewards.preset": "default", "training.learning_rate": 1e-4}
    strict = {"rewards.preset": "strict", "training.learning_rate": 2e-4}
    trials = {
        "a": (given, rows_of(0.5, 0.6)),
        "b": (strict, rows_of(0.4, 0.3)),
        "c": (given, [{"step": 0, KEY: None}]),
    }
    written = write_sweep_report(write_run(tmp_path / "credit", trials))
    html = Path(written["report"]).read_text()
    assert Path(written["report"]) == tmp_path / "credit" / "sweep.html"
    assert "Does &lt;hierarchical&gt; credit" in html and "<script src" not in html
    answer = written["sections"][0]
    assert "Best so far: trial a, hierarchical F1 0.600" in answer["text"][0]
    assert "hierarchical credit: given against not given (strict)" in answer["text"][-1]
    assert "too few to know their spread" in answer["text"][-1]
    json.dumps(written, allow_nan=False)


def test_a_sweep_without_a_score_is_reported_as_such(tmp_path):
    root = write_run(tmp_path / "early", {"a": ({"rewards.preset": "strict"}, [{"step": 0}])})
    text = json.dumps(write_sweep_report(root, tmp_path / "out" / "early.html"))
    assert "No trial has a score yet" in text and (tmp_path / "out" / "early.html").is_file()


def test_a_folder_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(MissingError, match="no run in"):
        write_sweep_report(tmp_path / "nothing")
