"""Where the models of a run come from → `promotion.lineage.Lineage`, and whom they were trained on.

In: a run's folder and experiment, and a trial of it. Out: lineages, and identifiers of patients.
Decided here: a trial's code, packages and machines are those of its own record, written when it
started; the start model has no record of its own, so its are those of the registration. The hash of
a base model without a manifest is made here, once a process.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from deepicd import checkpoints, provenance
from deepicd.config import Experiment
from deepicd.notes.build_report import REPORT, read_build_report
from deepicd.notes.identity import identify
from deepicd.paths import RECORD, RunPaths
from deepicd.pipeline.run import Run
from deepicd.promotion.lineage import BASE, BY_HAND, GRPO, SFT, Lineage, ModelFiles
from deepicd.promotion.registry import Registry
from deepicd.records import Trial

_NO_PACKAGE = ("deepicd", "code")
"""Names among the versions of a record that are no packages."""


def lineage_of_start(run: Run) -> Lineage:
    """Of the model that every trial starts from."""
    sft, paths = run.experiment.sft, run.paths
    return replace(
        _common(run, _record_now(run.experiment.profile)),
        stage=SFT if sft.is_enabled else BASE,
        checkpoint=ModelFiles(str(paths.sft), digest_model(paths.sft)),
        data=_identity(paths),
    )


def lineage_of_trial(run: Run, trial: Trial) -> Lineage:
    """Of a trial's best checkpoint."""
    assert trial.checkpoint is not None, "ranked trials have a checkpoint"
    folder = Path(trial.checkpoint.path)
    record = _read_record(folder.parent)
    sha256 = checkpoints.content_digest(checkpoints.read_manifest(folder))
    return replace(
        _common(run, record),
        stage=GRPO,
        seed=record.get("seed", run.experiment.seed),
        trial=trial.id,
        params=dict(trial.params),
        checkpoint=ModelFiles(str(folder), sha256, trial.checkpoint.step),
        start_model=ModelFiles(str(run.paths.sft), digest_model(run.paths.sft)),
        # What the trial recorded stands before what lies there now.
        data={**_identity(run.paths), **(record.get("data") or {})},
    )


def lineage_by_hand(folder: Path, experiment: Experiment | None) -> Lineage:
    """Of a model that comes from no run, as far as an experiment says how it was trained."""
    checkpoint = ModelFiles(str(folder.resolve()), digest_model(folder))
    lineage = Lineage(stage=BY_HAND, checkpoint=checkpoint)
    return lineage if experiment is None else lineage_of_experiment(experiment, lineage)


def lineage_of_experiment(experiment: Experiment, known: Lineage | None = None) -> Lineage:
    """What an experiment says of every model that it trains, beside what is known."""
    identity = identify(experiment.data, hashes={})
    data = {name: identity[name] for name in ("codes", "settings", "seed")}
    return replace(_of_experiment(experiment, known or Lineage()), data=data)


def trained_patients(run: Run, *, is_trial: bool) -> set[str]:
    """Patients whose notes a model of the run learnt from: those of its traces, and of a trial
    those that GRPO trains on.
    """
    files = [run.paths.traces, *([run.paths.grpo_notes] if is_trial else [])]
    columns = (pq.read_table(file, columns=["patient_id"])["patient_id"] for file in files)
    return {patient for column in columns for patient in column.to_pylist()}


def digest_model(folder: Path) -> str:
    """SHA-256 over the files of a model folder, by its manifest where it has one."""
    return checkpoints.content_digest(_files_of(folder))


def find_version(registry: Registry, folder: Path) -> str | None:
    """The registered version whose weights are those of a folder; None where there is none."""
    weights = checkpoints.weights_digest(_files_of(folder))
    for version in registry.versions():
        if checkpoints.weights_digest(checkpoints.read_manifest(version.path)) == weights:
            return version.name
    return None


def _common(run: Run, record: Mapping[str, Any]) -> Lineage:
    """What every model of a run has in common."""
    base = run.experiment.model.path or run.paths.model
    versions = record.get("versions", {})
    code = {name: value for name, value in record.get("code", {}).items() if name != "new_files"}
    code |= {"diff_sha256": record.get("diff_sha256"), "release": versions.get("deepicd")}
    environment = {
        name: record.get(name) for name in ("lock", "image", "num_nodes", "machines")
    } | {"versions": {name: versions[name] for name in versions if name not in _NO_PACKAGE}}
    lineage = Lineage(
        run=run.paths.root.name,
        base_model=_describe_base(base, is_named=run.experiment.model.path is not None),
        code=code,
        environment=environment,
    )
    return _of_experiment(run.experiment, lineage)


def _describe_base(base: Path, *, is_named: bool) -> ModelFiles | None:
    """The base model; of one that was named and is gone its place alone."""
    if base.is_dir():
        return ModelFiles(str(base), digest_model(base))
    return ModelFiles(str(base)) if is_named else None


def _of_experiment(experiment: Experiment, lineage: Lineage) -> Lineage:
    return replace(
        lineage,
        experiment=experiment.name,
        seed=experiment.seed,
        profile=experiment.profile,
        limits=experiment.limits,
        temperature=experiment.training.temperature,
    )


def _identity(paths: RunPaths) -> dict[str, Any]:
    """Identity of the run's notes; empty where no build of ours made them."""
    if not (paths.notes / REPORT).is_file():
        return {}
    identity: dict[str, Any] = read_build_report(paths.notes).get("identity", {})
    return identity


def _read_record(trial: Path) -> dict[str, Any]:
    """What a trial ran with; empty where it left no record."""
    file = trial / RECORD
    record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return record


@cache
def _record_now(profile: str) -> dict[str, Any]:
    """What this process runs with, under the names of a trial's record."""
    code, diff = provenance.read_code()
    return {
        "code": code,
        "diff_sha256": provenance.sha256(diff.encode()) if diff else None,
        "lock": provenance.read_lock(profile),
        "versions": provenance.versions(),
        "image": os.environ.get(provenance.IMAGE_VARIABLE) or None,
        "machines": [provenance.read_machine()],
    }


def _files_of(folder: Path) -> Mapping[str, Any]:
    if (folder / checkpoints.MANIFEST).is_file():
        return checkpoints.read_manifest(folder)
    return _hash_files(folder.resolve())


@cache
def _hash_files(folder: Path) -> Mapping[str, Any]:
    return {"files": checkpoints.describe_files(folder)}
