"""Folders of runs as their stages leave them, with models too small to be asked."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from registry_models import build_model, rows

from deepicd import checkpoints
from deepicd.config import dump_experiment, parse_experiment
from deepicd.notes.split_files import write_split
from deepicd.paths import RECORD, RunPaths, trial_folder
from deepicd.pipeline.candidates import Candidate
from deepicd.pipeline.run import Run
from deepicd.pipeline.stages import Scored
from deepicd.records import Checkpoint, Examination, Note, Trial
from deepicd.traces import write_traces

IDENTITY = {
    "splits": {"train": "a" * 64},
    "codes": {"release": "FY2026", "sha256": "21"},
    "settings": {"source": "embedded"},
    "seed": 1,
}


@pytest.fixture(autouse=True)
def _no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing guards against power cuts, which no test makes."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def scored_by(right: int) -> Scored:
    """Answers to forty promotion notes, the first ones right."""
    answers = [("I2510", "I2510" if i < right else "J189") for i in range(40)]
    scores = {"hierarchical_f1": right / 40}
    return Scored(test=scores, majority=scores, promotion=rows(*answers), calibration=None)


def write_run(root: Path, seed: int, trials: Sequence[str], **table: Any) -> Run:
    """A run whose sweep has ended: trace patients t0 and t1, GRPO patients g0 to g4."""
    settings = {"num_bootstrap": 100, "min_patients": 1, **table.pop("promotion", {})}
    experiment = parse_experiment({"promotion": settings, "seed": seed, **table}, "here")
    paths = RunPaths(root)
    dump_experiment(experiment, paths.experiment)
    paths.notes.mkdir()
    report = {"source": "embedded", "num_notes": 47, "num_labels": 1, "splits": {}}
    (paths.notes / "report.json").write_text(json.dumps({**report, "identity": IDENTITY}))
    notes = [Note(f"n{i}", f"p{i}", f"a{i}", "CHIEF COMPLAINT: pain", "I2510") for i in range(40)]
    write_split(notes, paths.split("promotion"))
    trained = [Note(f"g{i}", f"g{i}", f"a{i}", "x", "I2510") for i in range(5)]
    write_split(trained, paths.grpo_notes)
    traces = [
        {"note_id": f"t{i}", "patient_id": f"t{i}", "code": "I2510", "response": "x"}
        for i in range(2)
    ]
    write_traces(traces, paths.traces)
    checkpoints.export(build_model(root / "fitted", 100 * seed), paths.sft, facts={"stage": "sft"})
    build_model(paths.model, 7)
    for number, name in enumerate(trials, start=1):
        write_trial(paths, name, 100 * seed + number)
    return Run(experiment, paths)


def write_trial(paths: RunPaths, name: str, seed: int) -> None:
    folder = trial_folder(paths.sweep, name)
    build_model(folder / "global_step_4" / "actor" / "huggingface", seed)
    checkpoints.write_trainer_manifest(folder / "global_step_4", {"step": 4})
    record = {
        "seed": seed,
        "data": {**IDENTITY, "train": "7" * 64},
        "code": {"commit": "bcc8ecba1c86", "is_changed": False, "new_files": []},
        "lock": {"name": "requirements/cpu.lock", "sha256": "a4"},
        "versions": {"deepicd": "0.1.0", "code": "bcc8", "ray": "2.60.0"},
        "machines": [{"os": "Linux", "cpu": "Xeon", "num_cpus": 2, "gpus": []}],
        "num_nodes": 1,
    }
    (folder / RECORD).write_text(json.dumps(record))


def candidate_of(run: Run, name: str, right: int) -> Candidate:
    folder = trial_folder(run.paths.sweep, name) / "global_step_4"
    checkpoint = Checkpoint(str(folder), 4)
    params = {"training.learning_rate": 1e-4}
    trial = Trial(name, params, "finished", 4, {"hierarchical_f1": 0.5}, checkpoint)
    return Candidate(trial, scored_by(right))


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """A run in the folder of the runs, by name."""

    def make(name: str, *trials: str, seed: int = 1, **table: Any) -> Run:
        root = tmp_path / "runs" / name
        root.mkdir(parents=True)
        return write_run(root, seed, trials, **table)

    return make


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Examination | Exception]:
    """Version → what vLLM would have made of it: the models of these tests answer nothing."""
    known: dict[str, Examination | Exception] = {}

    def examine(registry: Any, name: str, **_: Any) -> Examination:
        registry.verify(name)
        answer = known[name]
        if isinstance(answer, Exception):
            raise answer
        return answer

    for module in ("contestant", "by_hand"):
        monkeypatch.setattr(f"deepicd.pipeline.promotion.{module}.examine_version", examine)
    return known


@pytest.fixture
def scored() -> Callable[[int], Scored]:
    return scored_by


@pytest.fixture
def candidate() -> Callable[..., Candidate]:
    return candidate_of
