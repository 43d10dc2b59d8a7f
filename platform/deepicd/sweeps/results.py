"""Tune's results → `records.Trial`, best validation and its checkpoint first."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepicd.config import Experiment
from deepicd.records import Checkpoint, Trial

if TYPE_CHECKING:
    from ray import tune

_PREFIX = "validation/"
_CHECKPOINT_KEY = "checkpoint_path"


def read_trials(results: "tune.ResultGrid", experiment: Experiment) -> list[Trial]:
    """One record per trial, in the order Tune started them."""
    return [read_trial(result, experiment) for result in results]


def read_trial(result: Any, experiment: Experiment) -> Trial:
    """Record of one trial: its parameters, how far it came, its best validation."""
    history = read_history(Path(result.path))
    steps = max((int(row["step"]) for row in history), default=0)
    best = best_validation(history, experiment.sweep.metric)
    error = result.error
    return Trial(
        id=Path(result.path).name,
        params=dict(result.config or {}),
        status=status_of(steps, experiment.training.total_steps, error),
        steps=steps,
        validation=validation_of(best) if best else {},
        checkpoint=checkpoint_of(best) if best else None,
        error=cause_of(error) if error else None,
    )


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The last report of every step, from Tune's JSON lines; empty if it died before its first.

    A trial that went on from a checkpoint has reported the steps after it twice.
    """
    file = folder / "result.json"
    if not file.is_file():
        return []
    by_step = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):  # a process that is killed leaves its last line unfinished
            row = json.loads(line)
            by_step[row["step"]] = row
    return [by_step[step] for step in sorted(by_step)]


def read_histories(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Trial id → its reports, for every trial in Tune's folder of a sweep."""
    files = sorted(folder.glob("*/result.json"))
    return {file.parent.name: read_history(file.parent) for file in files}


def best_validation(history: Sequence[Mapping[str, Any]], metric: str) -> Mapping[str, Any] | None:
    """The report with the best validation score among those that saved a checkpoint; earliest on a
    tie."""
    rows = [row for row in history if _PREFIX + metric in row and is_kept(row.get(_CHECKPOINT_KEY))]
    return max(rows, key=lambda row: row[_PREFIX + metric], default=None)


def is_kept(checkpoint: str | None) -> bool:
    """Whether a checkpoint can still be there: Ray Train keeps the best two, and which of equals
    is not ours to say. Only a local path can be looked up.
    """
    if not checkpoint:
        return False
    return not Path(checkpoint).is_absolute() or Path(checkpoint).is_dir()


def validation_of(row: Mapping[str, Any]) -> dict[str, float]:
    """Score set of a validation report."""
    return {key.removeprefix(_PREFIX): row[key] for key in row if key.startswith(_PREFIX)}


def checkpoint_of(row: Mapping[str, Any]) -> Checkpoint:
    """Checkpoint that a validation report came with."""
    return Checkpoint(path=row[_CHECKPOINT_KEY], step=int(row["step"]), metrics=validation_of(row))


def status_of(steps: int, total_steps: int, error: BaseException | None) -> str:
    """finished, stopped (early, by the scheduler) or failed."""
    if error is not None:
        return "failed"
    return "finished" if steps >= total_steps else "stopped"


def cause_of(error: BaseException) -> str:
    """Last line of the innermost error, which names the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
