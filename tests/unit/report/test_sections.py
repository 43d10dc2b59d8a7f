"""Every section of a sweep's report, from a sweep of twelve trials made by hand."""

from dataclasses import replace

import pytest

from deepicd.config import parse_experiment
from deepicd.records import Trial
from deepicd.report.answer import answer_section
from deepicd.report.html import page_values
from deepicd.report.leaderboard import leaderboard_section
from deepicd.report.sweep import build_sections, render_sweep
from deepicd.report.sweep_data import Sweep

RATE, WEIGHT = "training.learning_rate", "rewards.weights.hierarchy"
KEY = "validation/hierarchical_f1"
STEPS, NUM_TRIALS = 8, 12
EXPERIMENT = parse_experiment(
    {
        "name": "twelve",
        "question": "Which learning rate trains best?",
        "training": {"total_steps": STEPS, "validate_every": 2, "num_gpus": 2}
        | {"ppo_micro_batch_size_per_gpu": 8},
        "sweep": {
            "num_trials": NUM_TRIALS,
            "grace_steps": 2,
            "search": {
                RATE: {"type": "loguniform", "low": 1e-5, "high": 1e-3},
                WEIGHT: {"type": "uniform", "low": 0.1, "high": 1.0},
            },
        },
    },
    "here",
)


def score_of(number, step):
    """The higher the learning rate, the better; the later, the better."""
    return round(0.02 * number + 0.05 * step, 3)


def reports(number, steps):
    """A trial's reports: a start of 20 s, then 10 s a step."""
    rows = [{"step": 0, "start/seconds": 20.0, "time_total_s": 20.0, "timestamp": 1000.0}]
    rows[0] |= {"start/reused_engine": float(number > 0), "time_this_iter_s": 20.0}
    for step in range(1, steps + 1):
        row = {"step": step, "time_total_s": 20.0 + 10 * step, "timing_s/gen": 6.0}
        row |= {"timing_s/update_actor": 2.0, "critic/score/mean": 0.1 * step}
        row |= {"timestamp": 1000.0 + 10 * step, "reward/reward_format/mean": 0.5}
        if step % 2 == 0:
            row |= {KEY: score_of(number, step), "checkpoint_path": f"{number}/{step}"}
        rows.append(row)
    return rows


def trial_of(number):
    """Three of four trials end by themselves; the first one of four is stopped at step 2."""
    steps = 2 if number % 4 == 0 else STEPS
    score = score_of(number, steps)
    return Trial(
        f"t{number:02}",
        {RATE: 1e-5 * (number + 1), WEIGHT: 0.1 + 0.07 * ((number * 5) % 12)},
        "finished" if steps == STEPS else "stopped",
        steps,
        {"hierarchical_f1": score, "hierarchical_f1_low": score - 0.1}
        | {"hierarchical_f1_high": score + 0.1},
        objectives={"hierarchical_f1": score, "response_length": 30.0 + number},
    )


@pytest.fixture(scope="module")
def sweep():
    trials = [trial_of(number) for number in range(NUM_TRIALS)]
    histories = {trial.id: reports(at, trial.steps) for at, trial in enumerate(trials)}
    both = ("hierarchical_f1", "response_length")
    return Sweep(
        experiment=EXPERIMENT,
        trials=trials,
        starts={name: [rows] for name, rows in histories.items()},
        histories=histories,
        pareto_fronts={both: {"t11", "t01"}},
        stopping_steps=[2, 4],
        budget={"num_trials": 12, "num_steps": 78, "max_steps": 96}
        | {"seconds": 1020.0, "gpu_hours": 0.5667},
        versions={"ray": "2.60.0"},
    )


@pytest.fixture(scope="module")
def page(sweep):
    """Title → text and tables of each section."""
    return {section["title"]: section for section in page_values(build_sections(sweep))}


def rows_of(page, title, caption):
    (table,) = [table for table in page[title]["tables"] if table["caption"].startswith(caption)]
    return table["rows"]


def test_sections_come_from_the_answer_to_the_versions(page):
    assert list(page) == [
        "Answer",
        "Context",
        "Leaderboard",
        "Learning curves",
        "Parameters",
        "Objectives",
        "Early stopping",
        "Time and cost",
        "Environment",
    ]


def test_the_leaderboard_has_the_best_trial_first(page):
    rows = rows_of(page, "Leaderboard", "Trials by their best validation")
    assert [row["trial"] for row in rows][:3] == ["t11", "t10", "t09"]
    assert rows[0]["hierarchical F1"] == "0.620 [0.520, 0.720]"
    assert rows[0]["response length"] == 41.0
    assert rows[0]["GPU-hours in all"] == pytest.approx(100 * 2 / 3600)
    assert "error" not in rows[0] and page["Leaderboard"]["text"] == []


def test_the_leaderboard_names_the_error_of_a_failed_trial(sweep):
    broken = Trial("t99", {RATE: 1e-4}, "failed", 0, {}, error="TrainingError: no GPU")
    section = leaderboard_section(replace(sweep, trials=[*sweep.trials, broken]))
    last = section.tables[0].rows[-1]
    assert (last["trial"], last["error"], last["hierarchical F1"]) == (
        "t99",
        "TrainingError: no GPU",
        "–",
    )
    assert section.tables[0].rows[0]["error"] is None


def test_scores_without_an_interval_are_said_to_have_none(sweep):
    bare = [
        replace(trial, validation={"hierarchical_f1": trial.validation["hierarchical_f1"]})
        for trial in sweep.trials
    ]
    section = leaderboard_section(replace(sweep, trials=bare))
    assert section.text == ["These trials recorded no interval of their scores."]


def test_the_parameter_that_decides_is_more_than_chance(page):
    rows = rows_of(page, "Parameters", "Importance")
    assert {row["parameter"] for row in rows} == {RATE, WEIGHT}
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert rows[0]["share"] >= rows[1]["share"] and page["Parameters"]["text"] == []


def test_early_stopping_counts_the_steps_that_it_saved(page):
    (text,) = page["Early stopping"]["text"]
    assert "Scheduler asha: 3 of 12 trials were stopped early, 18 GRPO steps" in text
    first, second = rows_of(page, "Early stopping", "Rungs of the scheduler")
    assert first["stopped there"] == 3 and first["who"] == "t00, t04, t08"
    assert second["trials that came"] == 9 and second["who"] == ""


def test_time_is_counted_by_the_clock_by_start_and_by_phase(page):
    clock, starts = page["Time and cost"]["text"]
    assert clock.endswith("to the last report: 1.7 minutes.")  # 20 s of start, 80 s of steps
    assert "1 with a new engine (mean 20.0 s), 11 with a reused engine (mean 20.0 s)" in starts
    rows = {row["phase"]: row for row in rows_of(page, "Time and cost", "All trials together")}
    assert rows["start"]["seconds"] == 12 * 20 and rows["rollout"]["seconds"] == 78 * 6
    assert rows["update"]["seconds"] == 78 * 2 and rows["other"]["seconds"] == 78 * 2
    assert sum(row["seconds"] for row in rows.values()) == 12 * 20 + 78 * 10


def test_the_answer_compares_the_trials_at_the_last_common_step(page):
    text = " ".join(page["Answer"]["text"])
    assert "Best so far: trial t11, hierarchical F1 0.620 [0.520, 0.720]" in text
    assert "The 12 trials that ended are compared at step 2" in text
    assert "hierarchical F1 at step 2 is higher" in text


def test_the_winner_of_a_decision_is_named_with_its_reason(sweep):
    decision = {"winner": "t11", "why": "hierarchical_f1 0.620 over 1 seed", "configurations": []}
    section = answer_section(replace(sweep, decision=decision))
    assert section.text[0].startswith("Winner: trial t11, hierarchical_f1 0.620 over 1 seed. ")


def test_versions_are_those_installed_until_trials_have_recorded_theirs(sweep, page):
    assert rows_of(page, "Environment", "Installed where") == [{"what": "ray", "value": "2.60.0"}]
    recorded = replace(sweep, records=[{"trial": "t00", "versions": {"ray": "2.59.0"}}])
    sections = page_values(build_sections(recorded))
    (table,) = sections[-1]["tables"]
    assert table["caption"] == "Recorded by the trials"
    assert table["rows"] == [{"what": "versions.ray", "value": "2.59.0"}]


def test_the_page_has_every_section_and_counts_states_in_its_lead(sweep):
    html = render_sweep(sweep, build_sections(sweep))
    assert "12 of 12 trials: 9 finished, 3 stopped." in html
    assert "78 of at most 96 GRPO steps, 17.0 minutes of trials, 0.567 GPU-hours" in html
    for title in ("Answer", "Leaderboard", "Parameters", "Early stopping", "Environment"):
        assert f">{title}<" in html


def test_a_sweep_whose_trials_do_not_vary_has_no_parameters_to_show(sweep):
    same = [replace(trial, params={RATE: 1e-4, WEIGHT: 0.5}) for trial in sweep.trials]
    (section,) = [
        section
        for section in build_sections(replace(sweep, trials=same))
        if section.title == "Parameters"
    ]
    assert section.text == ["No parameter varied among trials with a score."]
    assert not section.figures and not section.tables
