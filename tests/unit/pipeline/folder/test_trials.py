"""A run that was moved: what its sweep ended with, and a sweep that was not over."""

import json
from pathlib import Path

import pytest

from deepicd.config import parse_experiment
from deepicd.errors import SweepError
from deepicd.paths import RunPaths, trial_folder
from deepicd.pipeline.folder.trials import read_swept, write_swept
from deepicd.pipeline.run import Run
from deepicd.pipeline.stages import check_place, trial_row
from deepicd.pipeline.values import write_value
from deepicd.records import Checkpoint, Trial
from deepicd.sweeps.results.decision import SweepDecision, SweepResult
from deepicd.sweeps.results.status import read_status


def begin(root: Path) -> tuple[RunPaths, Trial]:
    """A run with a trial that saved a checkpoint and said where, as Tune writes it."""
    paths = RunPaths(root)
    save = trial_folder(paths.sweep, "a1") / "global_step_4"
    save.mkdir(parents=True)
    (save / "manifest.json").write_text("{}")
    reports = paths.tune / "a1"
    reports.mkdir(parents=True)
    (reports / "params.json").write_text("{}")
    row = {"step": 4, "validation/hierarchical_f1": 0.5, "checkpoint_path": str(save)}
    (reports / "result.json").write_text(json.dumps(row) + "\n")
    return paths, Trial("a1", {}, "finished", 4, {}, Checkpoint(str(save), 4))


def test_what_a_sweep_ended_with_is_found_where_the_run_lies_now(tmp_path):
    paths, trial = begin(tmp_path / "runs" / "a")
    write_swept(paths, SweepResult([trial], SweepDecision("f1", "a1", False, [], "why")))
    assert str(tmp_path) not in paths.swept.read_text()
    run = Run(parse_experiment({}, "here"), paths)
    assert trial_row(run, trial)["checkpoint"] == "sweep/trials/a1/global_step_4"
    moved = RunPaths(paths.root.rename(tmp_path / "a"))
    (found,) = read_swept(moved).trials
    assert found.checkpoint.path == str(trial_folder(moved.sweep, "a1") / "global_step_4")


def test_the_status_of_a_run_that_was_moved_knows_its_checkpoints(tmp_path):
    paths, _ = begin(tmp_path / "runs" / "a")
    moved = RunPaths(paths.root.rename(tmp_path / "a"))
    (trial,) = read_status(moved, parse_experiment({}, "here"), is_alive=False)
    assert trial.checkpoint is not None and Path(trial.checkpoint.path).is_relative_to(moved.root)
    assert trial.validation == {"hierarchical_f1": 0.5}


def test_a_sweep_that_was_not_over_goes_on_where_it_was_begun_alone(tmp_path):
    paths, _ = begin(tmp_path / "runs" / "a")
    check_place(paths)  # other code began it, and did not say where
    write_value(paths.sweep_place, str(paths.sweep), str)
    check_place(paths)
    moved = RunPaths(paths.root.rename(tmp_path / "a"))
    with pytest.raises(SweepError, match=r"was begun in .*/runs/a/sweep, .*; move the run back"):
        check_place(moved)
