"""Trials of a run from what lies on disk, so that it can be asked while the sweep goes on and
without Ray.
"""

import json
from pathlib import Path
from typing import Any

from deepicd.config import Experiment
from deepicd.errors import MissingError
from deepicd.paths import RunPaths
from deepicd.records import Trial
from deepicd.sweeps.results import best_validation, checkpoint_of, read_history, validation_of


def read_status(root: Path) -> tuple[list[Trial], str]:
    """Trials in the order they were started, and the name of the score that they are ranked by.

    Raises:
        MissingError: no run lies there, or it has not reached its sweep.
    """
    paths = RunPaths(root)
    if not paths.experiment.is_file():
        raise MissingError(f"no run in {root}; `deepicd sweep run FILE --name NAME` makes one")
    experiment = Experiment.model_validate_json(paths.experiment.read_text(encoding="utf-8"))
    if paths.trials.is_file():
        rows = json.loads(paths.trials.read_text(encoding="utf-8"))
        return [Trial(**{**row, "checkpoint": None}) for row in rows], experiment.sweep.metric
    folders = sorted(paths.sweep.glob("tune/*/params.json"), key=lambda file: file.stat().st_mtime)
    if not folders:
        raise MissingError(
            f"the run in {root} has not reached its sweep yet; ask again in a minute"
        )
    return [unfinished_trial(file.parent, experiment) for file in folders], experiment.sweep.metric


def unfinished_trial(folder: Path, experiment: Experiment) -> Trial:
    """One trial of a sweep that is still going on."""
    history = read_history(folder)
    best = best_validation(history, experiment.sweep.metric)
    steps = max((int(row["step"]) for row in history), default=0)
    has_failed = (folder / "error.txt").is_file()
    return Trial(
        id=folder.name,
        params=json.loads((folder / "params.json").read_text(encoding="utf-8")),
        status=state_on_disk(steps, experiment.training.total_steps, has_failed=has_failed),
        steps=steps,
        validation=validation_of(best) if best else {},
        checkpoint=checkpoint_of(best) if best else None,
    )


def state_on_disk(steps: int, total_steps: int, *, has_failed: bool) -> str:
    """failed, finished or running, as far as files tell."""
    if has_failed:
        return "failed"
    return "finished" if steps >= total_steps else "running"


def status_row(trial: Trial) -> dict[str, Any]:
    """One trial as `--json` prints it."""
    return {
        "id": trial.id,
        "state": trial.status,
        "steps": trial.steps,
        "params": dict(trial.params),
        "validation": dict(trial.validation),
        "error": trial.error,
    }
