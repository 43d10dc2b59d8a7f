"""The status of a sweep from its files: trials and their states, budget, decision."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deepicd import cli
from deepicd.config import parse_experiment, with_values
from deepicd.errors import MissingError, SweepError
from deepicd.paths import RunPaths
from deepicd.pipeline.folder.command import Command, experiment_of_run, write_command
from deepicd.pipeline.loop import resume_run
from deepicd.pipeline.seal import Seal, write_seal
from deepicd.sweeps.results.decision import write_decision
from deepicd.sweeps.results.status import (
    budget,
    read_ranking,
    read_status,
    read_sweep_status,
    status_row,
    trial_facts,
)

KEY = "validation/hierarchical_f1"
LEARNING_RATE = {"type": "loguniform", "low": 1e-5, "high": 1e-3}
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


def status_rows(root: Path, *, is_alive: bool = True) -> dict[str, dict]:
    paths = RunPaths(root)
    trials = read_status(paths, experiment_of_run(paths), is_alive=is_alive)
    return {row["id"]: row for row in map(status_row, trials)}


def write_tune_state(root: Path, **states: str) -> None:
    trials = [
        [json.dumps({"trial_id": name, "status": state}), "{}"] for name, state in states.items()
    ]
    file = RunPaths(root).sweep / "tune" / "experiment_state-2026.json"
    file.write_text(json.dumps({"trial_data": trials}))


def test_status_of_a_sweep_that_goes_on(tmp_path):
    root = write_run(tmp_path / "run", {"a": ROWS, "b": ROWS[:2], "c": ROWS[:3]})
    write_tune_state(root, a="TERMINATED", b="RUNNING", c="TERMINATED")
    rows = status_rows(root)
    states = {name: row["state"] for name, row in rows.items()}
    assert states == {"a": "finished", "b": "running", "c": "stopped"}
    assert rows["a"]["validation"]["hierarchical_f1"] == 0.6 and rows["b"]["steps"] == 5


def test_a_trial_of_an_interrupted_sweep_is_pending(tmp_path):
    root = write_run(tmp_path / "run", {"a": ROWS, "b": ROWS[:2]})
    assert status_rows(root, is_alive=False)["b"]["state"] == "pending"
    assert status_rows(root, is_alive=False)["a"]["state"] == "finished"
    write_tune_state(root, a="TERMINATED", b="TERMINATED")
    (RunPaths(root).sweep / "tune" / "experiment_state-2027.json").write_text('{"trial_')
    assert status_rows(root)["b"]["state"] == "running"  # the newest snapshot is being written


def test_status_says_what_a_trial_that_is_not_over_does_or_waits_for(tmp_path):
    root = write_run(tmp_path / "run", {"a": ROWS[:2], "b": ROWS[:2]})
    write_tune_state(root, a="RUNNING", b="TERMINATED")
    for name in ("a", "b"):
        folder = root / "sweep" / "trials" / name
        folder.mkdir(parents=True)
        (folder / "stage.json").write_text('{"stage": "waiting for 1 node(s)", "step": 2}')
    rows = status_rows(root)
    assert (rows["a"]["stage"], rows["b"]["stage"]) == ("waiting for 1 node(s)", "")
    (root / "sweep" / "trials" / "a" / "stage.json").write_text('{"sta')
    assert status_rows(root)["a"]["stage"] == ""


def test_a_trial_whose_parameters_are_being_written_is_not_there_yet(tmp_path):
    root = write_run(tmp_path / "run", {"a": ROWS[:2], "b": []})
    for text in ("", '{"training.learning'):
        (RunPaths(root).tune / "b" / "params.json").write_text(text)
        assert list(status_rows(root)) == ["a"]


def test_a_failed_trial_is_told_by_its_error_file(tmp_path):
    root = write_run(tmp_path / "run", {"a": ROWS[:1]})
    (RunPaths(root).sweep / "tune" / "a" / "error.txt").write_text("boom")
    assert status_rows(root)["a"]["state"] == "failed"


def test_a_run_that_is_not_there_says_how_to_make_one(tmp_path):
    with pytest.raises(MissingError, match="deepicd run FILE"):
        status_rows(tmp_path / "nothing")


def test_a_run_before_its_sweep_says_so(tmp_path):
    root = write_run(tmp_path / "run", {})
    with pytest.raises(MissingError, match="not reached its sweep"):
        status_rows(root)
    with pytest.raises(MissingError, match="ended before its sweep"):
        status_rows(root, is_alive=False)


def test_the_budget_counts_what_was_spent(tmp_path):
    root = write_run(tmp_path / "run", {"a": [*ROWS[:-1], {**ROWS[-1], "time_total_s": 90.0}]})
    paths = RunPaths(root)
    experiment = experiment_of_run(paths)
    trials = read_status(paths, experiment, is_alive=True)
    spent = budget(trials, paths, experiment)
    assert spent == {
        "num_trials": 4,
        "num_started": 1,
        "num_steps": 30,
        "max_steps": 120,
        "seconds": 90.0,
        "gpu_hours": 0.025,
        "stage_gpu_hours": 0.0,
    }
    capped = with_values(experiment, {"sweep.max_cost": 1.0, "sweep.gpu_hour_price": 8.0})
    added = {"max_gpu_hours": 0.125, "usd": 0.2}
    assert budget(trials, paths, capped) == spent | added
    paths.seal("sft").parent.mkdir()
    paths.seal("sft").write_text('{"seconds": 180}')
    added = {"max_gpu_hours": 0.125, "usd": 0.6, "stage_gpu_hours": 0.05}
    assert budget(trials, paths, capped) == spent | added


def test_a_trial_that_a_cap_ended_says_so_after_the_sweep_and_while_it_goes_on(tmp_path):
    why = "the cap of 2 GPU-hours for a trial (sweep.max_trial_gpu_hours)"
    root = write_run(tmp_path / "run", {"a": [*ROWS[:2], {**ROWS[2], "ended_by": why}]})
    (trial,) = read_status(RunPaths(root), experiment_of_run(RunPaths(root)), is_alive=True)
    assert trial.reason == why and status_row(trial)["reason"] == why


def test_who_won_is_asked_of_a_sweep_that_has_ended_also_of_one_without_a_decision(tmp_path):
    root = write_run(tmp_path / "run", {"a": ROWS, "b": ROWS[:3]})
    paths = RunPaths(root)
    experiment = experiment_of_run(paths)
    assert read_ranking(paths, experiment) is None
    rows = [{**vars(trial)} for trial in read_status(paths, experiment, is_alive=False)]
    paths.trials.write_text(json.dumps([{**row, "checkpoint": None} for row in rows]))
    found = read_ranking(paths, experiment)
    assert found.winner == "a" and "no predictions of these notes" in found.why
    command = ["sweep", "status", "run", "--runs", str(tmp_path)]
    shown = json.loads(CliRunner().invoke(cli.app, [*command, "--json"]).stdout)
    assert shown["decision"]["winner"] == "a" and {"trials", "budget"} < set(shown)
    assert (
        "winner: trial a, hierarchical_f1 0.500 over 1 seed"
        in CliRunner().invoke(cli.app, command).stdout
    )
    write_decision(replace(found, winner="b"), paths.decision)
    assert read_ranking(paths, experiment).winner == "b"


def test_the_status_of_a_sweep_is_its_trials_its_budget_and_its_decision(tmp_path):
    root = write_run(tmp_path / "run", {"a": ROWS, "b": ROWS[:3]})
    paths = RunPaths(root)
    experiment = experiment_of_run(paths)
    status = read_sweep_status(paths, experiment, is_alive=True)
    assert status.experiment == experiment and status.decision is None
    assert [trial.id for trial in status.trials] == ["a", "b"]
    assert status.budget == budget(status.trials, paths, experiment)


def test_the_state_of_a_trial_survives_a_snapshot_that_is_being_written(tmp_path):
    root = write_run(tmp_path / "run", {"a": ROWS[:2]})
    file = RunPaths(root).tune / "experiment_state-2026.json"
    for text in ('{"trial_da', "{}", '{"trial_data": []}'):
        file.write_text(text)
        assert status_rows(root)["a"]["state"] == "running"


def test_a_trial_is_shown_with_its_last_report_without_what_is_not_a_number(tmp_path):
    rows = [{"step": 0}, {"step": 1, "objective": float("nan"), "reward": 0.5}]
    root = write_run(tmp_path / "run", {"a": rows, "b": []})
    for name in ("a", "b"):
        folder = RunPaths(root).sweep / "trials" / name
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps({"trial": name}))
    facts = trial_facts(RunPaths(root), "a")
    assert facts == {"record": {"trial": "a"}, "last": {"step": 1, "reward": 0.5}}
    assert trial_facts(RunPaths(root), "b")["last"] is None
    with pytest.raises(MissingError, match=r"no record of trial 'c' in .*; known: a, b"):
        trial_facts(RunPaths(root), "c")


# Stop and resume


def test_a_sweep_that_has_ended_is_not_resumed(tmp_path):
    root = write_run(tmp_path / "run", {"a": ROWS})
    table = {"sweep": {"search": {"training.learning_rate": LEARNING_RATE}}}
    RunPaths(root).experiment.write_text(parse_experiment(table, "here").model_dump_json())
    command = Command(is_promoted=False, is_deployed=False)
    write_command(RunPaths(root), command)
    for stage in command.stages:
        write_seal(RunPaths(root).seal(stage), Seal(stage, {}, {}, 1.0))
    with pytest.raises(SweepError, match="there is nothing to resume"):
        resume_run(root)
    with pytest.raises(MissingError, match="no run in"):
        resume_run(tmp_path / "nothing")
