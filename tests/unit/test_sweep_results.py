"""Tune's files → trials: which validation counts, and what a trial's state is."""

import json
from pathlib import Path

import pytest

from deepicd.config import parse_experiment
from deepicd.errors import MissingError
from deepicd.paths import RunPaths
from deepicd.sweeps.results import (
    best_validation,
    cause_of,
    read_histories,
    status_of,
    validation_of,
)
from deepicd.sweeps.status import read_status, status_row

KEY = "validation/hierarchical_f1"
ROWS = [
    {"step": 0},
    {"step": 5, KEY: 0.9},
    {"step": 10, KEY: 0.4, "checkpoint_path": "a/global_step_10"},
    {"step": 20, KEY: 0.6, "validation/macro_f1_full": 0.5, "checkpoint_path": "a/global_step_20"},
    {"step": 30, KEY: 0.6, "checkpoint_path": "a/global_step_30"},
]


def write_run(root: Path, trials: dict[str, list[dict]]) -> Path:
    paths = RunPaths(root)
    paths.root.mkdir(parents=True)
    table = {"training": {"total_steps": 30}}
    paths.experiment.write_text(parse_experiment(table, "here").model_dump_json())
    for trial, rows in trials.items():
        folder = paths.sweep / "tune" / trial
        folder.mkdir(parents=True)
        (folder / "params.json").write_text(json.dumps({"training.learning_rate": 0.1}))
        (folder / "result.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


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
    root = write_run(tmp_path / "run", {"a": ROWS, "b": ROWS[:1]})
    histories = read_histories(RunPaths(root).sweep / "tune")
    assert {trial: len(rows) for trial, rows in histories.items()} == {"a": 5, "b": 1}


def test_status_of_a_sweep_that_goes_on(tmp_path):
    trials, metric = read_status(write_run(tmp_path / "run", {"a": ROWS, "b": ROWS[:2]}))
    rows = {row["id"]: row for row in map(status_row, trials)}
    assert metric == "hierarchical_f1"
    assert rows["a"]["state"] == "finished" and rows["b"]["state"] == "running"
    assert rows["a"]["validation"]["hierarchical_f1"] == 0.6 and rows["b"]["steps"] == 5


def test_a_failed_trial_is_told_by_its_error_file(tmp_path):
    root = write_run(tmp_path / "run", {"a": ROWS[:1]})
    (RunPaths(root).sweep / "tune" / "a" / "error.txt").write_text("boom")
    assert read_status(root)[0][0].status == "failed"


def test_a_run_that_is_not_there_says_how_to_make_one(tmp_path):
    with pytest.raises(MissingError, match="deepicd sweep run"):
        read_status(tmp_path / "nothing")


def test_a_run_before_its_sweep_says_so(tmp_path):
    with pytest.raises(MissingError, match="not reached its sweep"):
        read_status(write_run(tmp_path / "run", {}))
