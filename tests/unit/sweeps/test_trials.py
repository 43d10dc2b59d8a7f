"""Ray Tune's reports → trials: which validation counts, and what a trial ended as."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deepicd.config import parse_experiment
from deepicd.errors import ConfigError
from deepicd.sweeps.results.trials import (
    best_validation,
    cause_of,
    read_histories,
    read_history,
    read_parts,
    read_trials,
    seconds_spent,
    set_reports_aside,
    status_of,
    trial_experiment,
    validation_of,
)

KEY = "validation/hierarchical_f1"
RATE = "training.learning_rate"
ROWS = [
    {"step": 0},
    {"step": 5, KEY: 0.9},
    {"step": 10, KEY: 0.4, "checkpoint_path": "a/global_step_10"},
    {"step": 20, KEY: 0.6, "validation/macro_f1_full": 0.5, "checkpoint_path": "a/global_step_20"},
    {"step": 30, KEY: 0.6, "checkpoint_path": "a/global_step_30"},
]
EXPERIMENT = parse_experiment({"training": {"total_steps": 30}}, "here")


def write_reports(tune: Path, trials: dict[str, list[dict]]) -> Path:
    """Tune's folder of a sweep with these reports of its trials."""
    for trial, rows in trials.items():
        folder = tune / trial
        folder.mkdir(parents=True)
        (folder / "result.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tune


def test_the_best_validation_is_the_earliest_of_the_best_that_saved_a_checkpoint():
    best = best_validation(ROWS, "hierarchical_f1")
    assert best is not None and best["step"] == 20


def test_a_trial_without_a_checkpoint_has_no_best_validation():
    assert best_validation(ROWS[:2], "hierarchical_f1") is None


def test_a_score_set_holds_every_validation_score_without_its_prefix():
    assert validation_of(ROWS[3]) == {"hierarchical_f1": 0.6, "macro_f1_full": 0.5}


@pytest.mark.parametrize(
    ("steps", "error", "status"),
    [(30, None, "finished"), (29, None, "stopped"), (30, RuntimeError("x"), "failed")],
)
def test_state_of_a_trial(steps, error, status):
    assert status_of(steps, 30, error) == status


def test_the_cause_is_the_last_line_of_the_error():
    assert cause_of(RuntimeError("Traceback\n  File x\nTrainingError: too few\n")).endswith("few")


def test_histories_are_read_by_trial(tmp_path):
    histories = read_histories(write_reports(tmp_path, {"a": ROWS, "b": ROWS[:1]}))
    assert {trial: len(rows) for trial, rows in histories.items()} == {"a": 5, "b": 1}


def test_a_step_that_was_reported_twice_counts_once_and_a_broken_last_line_is_passed_over(tmp_path):
    rows = [{"step": 1, "x": 1}, {"step": 2, "x": 1}, {"step": 2, "x": 2}]
    file = write_reports(tmp_path, {"a": rows}) / "a" / "result.json"
    file.write_text(file.read_text() + '{"step": 3, "x')
    assert [(row["step"], row["x"]) for row in read_history(file.parent)] == [(1, 1), (2, 2)]


def test_reports_from_before_an_interruption_stay_part_of_a_trial(tmp_path):
    rows = [{"step": 1, "x": 1, "time_total_s": 5.0}, {"step": 2, "x": 1, "time_total_s": 9.0}]
    tune = write_reports(tmp_path, {"a": rows})
    for again in (
        {"step": 2, "x": 2, "time_total_s": 3.0},
        {"step": 3, "x": 3, "time_total_s": 4.0},
    ):
        set_reports_aside(tune)
        (tune / "a" / "result.json").write_text(json.dumps(again) + "\n")
    assert [(row["step"], row["x"]) for row in read_history(tune / "a")] == [(1, 1), (2, 2), (3, 3)]
    assert seconds_spent(tune / "a") == 16.0 and list(read_histories(tune)) == ["a"]


def test_a_trial_that_was_over_before_an_interruption_is_not_counted_again(tmp_path):
    rows = [{"step": 1, "time_total_s": 5.0}, {"step": 2, "time_total_s": 9.0}]
    tune = write_reports(tmp_path, {"a": rows})
    said = (tune / "a" / "result.json").read_text()
    set_reports_aside(tune)
    (tune / "a" / "result.json").write_text(said)  # Tune brings it back
    assert seconds_spent(tune / "a") == 9.0


def test_reports_are_kept_apart_by_the_start_that_they_came_from(tmp_path):
    tune = write_reports(tmp_path, {"a": ROWS[:2]})
    set_reports_aside(tune)
    assert [file.name for file in (tune / "a").iterdir()] == ["result-000.json"]
    (tune / "a" / "result.json").write_text(json.dumps(ROWS[2]) + "\n")
    assert read_parts(tune / "a") == [ROWS[:2], ROWS[2:3]]


def test_a_checkpoint_that_was_removed_is_no_best_validation_unless_it_is_not_needed(tmp_path):
    there, gone = tmp_path / "global_step_10", tmp_path / "global_step_20"
    there.mkdir()
    (there / "manifest.json").write_text("{}")
    rows = [
        {"step": 10, KEY: 0.4, "checkpoint_path": str(there)},
        {"step": 20, KEY: 0.6, "checkpoint_path": str(gone)},
    ]
    needed = best_validation(rows, "hierarchical_f1")
    anyway = best_validation(rows, "hierarchical_f1", is_needed=False)
    assert needed is not None and needed["step"] == 10
    assert anyway is not None and anyway["step"] == 20


def test_a_trial_runs_the_sweeps_experiment_with_its_own_values():
    changed = trial_experiment(EXPERIMENT, {RATE: 0.5, "seed": 7})
    assert (changed.training.learning_rate, changed.seed) == (0.5, 7)
    assert changed.training.total_steps == EXPERIMENT.training.total_steps
    with pytest.raises(ConfigError, match=r"sampled parameters: training\.learning_rate"):
        trial_experiment(EXPERIMENT, {RATE: -1.0})


@dataclass
class Result:
    """What Ray Tune returns of a trial."""

    path: str
    config: dict[str, Any] = field(default_factory=dict)
    error: BaseException | None = None


def test_trials_are_read_from_what_tune_returns_in_its_order(tmp_path):
    write_reports(tmp_path, {"b": ROWS, "a": ROWS[:3], "c": ROWS[:1]})
    results = [
        Result(str(tmp_path / "b"), {RATE: 0.1}),
        Result(str(tmp_path / "a"), {RATE: 0.2}),
        Result(str(tmp_path / "c"), {RATE: 0.3}, RuntimeError("Traceback\nTrainingError: no GPU")),
    ]
    whole, early, failed = read_trials(results, EXPERIMENT)
    assert [trial.id for trial in (whole, early, failed)] == ["b", "a", "c"]
    assert (whole.status, whole.steps, whole.error) == ("finished", 30, None)
    assert whole.checkpoint is not None and whole.checkpoint.path == "a/global_step_20"
    assert whole.checkpoint.step == 20 and whole.objectives == {"hierarchical_f1": 0.6}
    assert whole.validation == {"hierarchical_f1": 0.6, "macro_f1_full": 0.5}
    assert (early.status, early.steps, early.validation) == (
        "stopped",
        10,
        {"hierarchical_f1": 0.4},
    )
    assert (failed.status, failed.checkpoint, failed.validation) == ("failed", None, {})
    assert failed.error == "TrainingError: no GPU" and failed.params == {RATE: 0.3}


def test_a_trial_that_died_before_its_first_report_has_taken_no_steps(tmp_path):
    (tmp_path / "a").mkdir()
    (trial,) = read_trials([Result(str(tmp_path / "a"), error=RuntimeError(""))], EXPERIMENT)
    assert (trial.steps, trial.status, trial.error) == (0, "failed", "RuntimeError")
