"""Parts of an evaluation: scored once, sealed, made again where they were cut off."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from deepicd.checkpoints import write_trainer_manifest
from deepicd.config import parse_experiment
from deepicd.errors import DataError
from deepicd.files import write_json
from deepicd.paths import RunPaths, trial_folder
from deepicd.pipeline import candidates
from deepicd.pipeline.folder.parts import check_parts
from deepicd.pipeline.folder.trials import with_root, without_root
from deepicd.pipeline.run import Run
from deepicd.pipeline.seal import Seal
from deepicd.pipeline.stages import Scored
from deepicd.pipeline.values import read_value
from deepicd.records import Checkpoint, Examination, Trial
from deepicd.sweeps.results.decision import SweepDecision, SweepResult

SCORED = Scored({"hierarchical_f1": 0.5}, {}, Examination([]), None)


def run_in(root: Path, **table: object) -> Run:
    return Run(parse_experiment(table, "here"), RunPaths(root))


def trial_of(run: Run, step: int) -> Trial:
    folder = trial_folder(run.paths.sweep, "a1") / f"global_step_{step}"
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder / "weights").write_text(f"weights of step {step}")
        write_trainer_manifest(folder)
    return Trial("a1", {}, "finished", 20, {"hierarchical_f1": 0.5}, Checkpoint(str(folder), step))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Models that were asked."""
    models: list[Path] = []

    def score(run: Run, name: str, model: Path) -> Scored:
        models.append(model)
        folder = run.paths.evaluation / name
        folder.mkdir(parents=True)
        write_json(folder / "scores.json", {"scores": {}})
        return SCORED

    monkeypatch.setattr(candidates, "score_model", score)
    return models


@pytest.fixture
def run(tmp_path: Path, asked: list[Path]) -> Run:
    """A run whose trial was scored once."""
    made = run_in(tmp_path / "a")
    candidates.evaluate_trial(made, trial_of(made, 20))
    assert len(asked) == 1
    return made


def test_a_trial_is_asked_once_and_again_where_its_best_checkpoint_is_another(run, asked):
    # `deepicd promote RUN:TRIAL` while the sweep was interrupted, then the whole sweep.
    assert candidates.evaluate_trial(run, trial_of(run, 20)).scored == SCORED
    for _ in range(2):
        assert candidates.evaluate_trial(run, trial_of(run, 24)).trial.checkpoint.step == 24
    assert [model.parent.parent.name for model in asked] == ["global_step_20", "global_step_24"]


@pytest.mark.parametrize("name", ["trial-a1.json", "trial-a1/scores.json"])
def test_a_part_that_was_changed_by_hand_is_refused_by_name(run, asked, name):
    file = run.paths.evaluation / name
    file.write_text(file.read_text() + " ")
    words = rf"{name} was changed after stage 'evaluation/trial-a1' was whole.*remove .*trial-a1"
    with pytest.raises(DataError, match=words):
        candidates.evaluate_trial(run, trial_of(run, 20))
    with pytest.raises(DataError, match=words):
        check_parts(run.paths, "evaluation")
    run.paths.part("evaluation", "trial-a1").unlink()  # the way out
    candidates.evaluate_trial(run, trial_of(run, 20))
    assert len(asked) == 2


@pytest.mark.parametrize("name", ["trial-a1.json", "trial-a1"])
def test_a_part_that_is_cut_off_is_made_again(run, asked, name):
    place = run.paths.evaluation / name
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    check_parts(run.paths, "evaluation")
    candidates.evaluate_trial(run, trial_of(run, 20))
    assert len(asked) == 2


def test_what_a_killed_evaluation_wrote_before_its_seal_is_not_taken(run, asked):
    run.paths.part("evaluation", "trial-a1").unlink()
    (run.paths.evaluation / "trial-a1.json").write_text("{")
    assert candidates.evaluate_trial(run, trial_of(run, 20)).scored == SCORED
    assert len(asked) == 2


def test_a_part_of_other_settings_is_made_again_and_of_other_machines_not(run, asked):
    root = run.paths.root
    other = run_in(root, promotion={"num_calibration": 7})
    candidates.evaluate_trial(other, trial_of(run, 20))
    assert len(asked) == 2
    patient = run_in(root, promotion={"num_calibration": 7}, training={"hang_timeout_s": 9.0})
    candidates.evaluate_trial(patient, trial_of(run, 20))
    assert len(asked) == 2


def test_scores_stand_in_one_place_and_a_whole_stage_asks_no_model(run, asked, monkeypatch):
    swept = SweepResult(
        [trial_of(run, 20)], SweepDecision("hierarchical_f1", "a1", True, [], "the best")
    )
    monkeypatch.setattr(candidates, "find_usable", lambda run, swept: swept.trials)
    run.seals |= {name: Seal(name, {}, {}, 1.0) for name in ("notes", "sweep")}
    run.stages = ("evaluation",)
    first = candidates.evaluate_best(run, swept)
    kept = read_value(run.paths.evaluation / "candidates.json", list[Trial])
    assert kept == [without_root(trial_of(run, 20), run.paths.root)]
    assert read_value(run.paths.evaluation / "trial-a1.json", Scored) == SCORED
    assert candidates.evaluate_best(run, swept) == first and len(asked) == 1
    assert first == [candidates.Candidate(trial_of(run, 20), SCORED)]


def test_places_in_a_run_s_files_count_from_its_folder(run, asked, tmp_path):
    kept = without_root(trial_of(run, 20), run.paths.root)
    assert kept.checkpoint.path == "sweep/trials/a1/global_step_20"
    moved = run_in(run.paths.root.rename(tmp_path / "b"))
    trial = with_root(kept, moved.paths.root)
    assert Path(trial.checkpoint.path).is_dir()
    candidates.evaluate_trial(moved, trial)
    assert len(asked) == 1
    assert without_root(trial, moved.paths.root) == kept
    elsewhere = replace(trial, checkpoint=Checkpoint("/elsewhere/x", 1))
    assert without_root(elsewhere, moved.paths.root) == elsewhere
    assert with_root(elsewhere, moved.paths.root) == elsewhere
    failed = replace(trial, checkpoint=None)
    assert with_root(without_root(failed, tmp_path), tmp_path) == failed
