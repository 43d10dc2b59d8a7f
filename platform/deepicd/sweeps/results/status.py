"""Trials of a run from what lies on disk, so that it can be asked while the sweep goes on and
without Ray.
"""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepicd.config import Experiment
from deepicd.errors import MissingError
from deepicd.paths import RECORD, STAGE, TRIALS, RunPaths
from deepicd.records import Trial
from deepicd.sweeps.results.decision import SweepDecision, decide, read_decision
from deepicd.sweeps.results.pareto import objectives_of
from deepicd.sweeps.results.spent import read_spent
from deepicd.sweeps.results.trials import (
    best_validation,
    checkpoint_of,
    read_history,
    reason_of,
    seconds_spent,
    started_trials,
    validation_of,
)
from deepicd.upstream import require_version

_OVER = ("TERMINATED", "ERROR")
"""Tune's own states of a trial that runs no more."""


@dataclass(frozen=True)
class SweepStatus:
    """What a sweep has done so far."""

    experiment: Experiment
    trials: Sequence[Trial]
    """In the order they were started."""
    budget: Mapping[str, float]
    """See `budget`."""
    decision: SweepDecision | None
    """None while the sweep goes on."""
    context: Sequence[Mapping[str, Any]] = ()
    """What else answered the validation notes, with the best trial in it
    (`pipeline.context.rows_of_trials`); empty where the run computed none."""


def read_sweep_status(paths: RunPaths, experiment: Experiment, *, is_alive: bool) -> SweepStatus:
    """Trials, budget and decision of a run from its files.

    Raises:
        MissingError: it has not reached its sweep.
    """
    trials = read_status(paths, experiment, is_alive=is_alive)
    spent, decision = budget(trials, paths, experiment), read_ranking(paths, experiment)
    return SweepStatus(experiment, trials, budget=spent, decision=decision)


def read_status(paths: RunPaths, experiment: Experiment, *, is_alive: bool) -> list[Trial]:
    """Trials in the order they were started.

    States: pending (not started, or interrupted and to be resumed), running, finished, stopped
    (early), failed.

    Args:
        paths: the run's folder.
        experiment: what it runs.
        is_alive: whether a process works on it.

    Raises:
        MissingError: it has not reached its sweep.
    """
    # Written when the sweep is over; until then Tune's own files tell.
    if paths.trials.is_file():
        rows = json.loads(paths.trials.read_text(encoding="utf-8"))
        # The row has its checkpoint as JSON, and no status shows it.
        return [Trial(**{**row, "checkpoint": None}) for row in rows]
    folders = started_trials(paths.tune)
    if not folders:
        raise MissingError(
            f"the run in {paths.root} has not reached its sweep yet; ask again in a minute"
            if is_alive
            else f"the run in {paths.root} ended before its sweep; `deepicd sweep resume` goes on"
        )
    is_over = _read_tune_states(paths.tune)
    trials = [unfinished_trial(folder, experiment) for folder in folders]
    settled = [_settle(trial, is_over.get(trial.id), is_alive=is_alive) for trial in trials]
    return [replace(trial, stage=_read_stage(paths, trial)) for trial in settled]


def _read_tune_states(tune: Path) -> dict[str, bool]:
    """Trial id → whether it is over, from Tune's last snapshot of the sweep."""
    require_version("ray", "2.60.0", "the reader of Ray Tune's snapshots")
    # Each start of a sweep writes one of its own, named by its time: the last is the newest.
    snapshots = sorted(tune.glob("experiment_state-*.json"))
    if not snapshots:
        return {}
    try:
        data = json.loads(snapshots[-1].read_text(encoding="utf-8"))["trial_data"]
    except (ValueError, KeyError):  # read while it is written
        return {}
    # Pairs of a trial's own state and its run-time metadata; the first is JSON within JSON.
    trials = [json.loads(trial) if isinstance(trial, str) else trial for trial, _ in data]
    return {trial["trial_id"]: trial["status"] in _OVER for trial in trials}


def unfinished_trial(folder: Path, experiment: Experiment) -> Trial:
    """One trial of a sweep that has not ended."""
    history = read_history(folder)
    best = best_validation(history, experiment.sweep.metric)
    steps = max((int(row["step"]) for row in history), default=0)
    # Tune's own name.
    has_failed = (folder / "error.txt").is_file()
    return Trial(
        id=folder.name,
        params=json.loads((folder / "params.json").read_text(encoding="utf-8")),
        status=_state_on_disk(steps, experiment.training.total_steps, has_failed=has_failed),
        steps=steps,
        validation=validation_of(best) if best else {},
        checkpoint=checkpoint_of(best) if best else None,
        objectives=objectives_of(best, experiment.sweep.pursued) if best else {},
        reason=reason_of(history),
    )


def _state_on_disk(steps: int, total_steps: int, *, has_failed: bool) -> str:
    """failed, finished or running, as far as a trial's own files tell."""
    if has_failed:
        return "failed"
    return "finished" if steps >= total_steps else "running"


def _settle(trial: Trial, is_over: bool | None, *, is_alive: bool) -> Trial:
    """The trial's state when it is known whether Tune and the sweep's process are done with it."""
    if trial.status != "running":
        return trial
    if is_over:
        return replace(trial, status="stopped")
    return trial if is_alive else replace(trial, status="pending")


def _read_stage(paths: RunPaths, trial: Trial) -> str:
    """What a trial does, or waits for; empty for one that is over or does nothing yet."""
    file = paths.sweep / TRIALS / trial.id / STAGE
    if trial.status not in {"running", "pending"} or not file.is_file():
        return ""
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["stage"])
    except (ValueError, KeyError):  # read while it is written
        return ""


def read_ranking(paths: RunPaths, experiment: Experiment) -> SweepDecision | None:
    """Who won and why; None while the sweep goes on."""
    if not paths.trials.is_file():
        return None
    if paths.decision.is_file():
        return read_decision(paths.decision)
    folders = [paths.tune / trial["id"] for trial in json.loads(paths.trials.read_text("utf-8"))]
    trials = [unfinished_trial(folder, experiment) for folder in folders if folder.is_dir()]
    return decide(trials, experiment, sweep=paths.sweep)


def trial_facts(paths: RunPaths, trial: str) -> dict[str, Any]:
    """What a trial ran with (`record`), and its last report without what is not a number (`last`,
    None before the first).

    Raises:
        MissingError: there is no such trial; names those that are there.
    """
    records = {file.parent.name: file for file in paths.sweep.glob(f"{TRIALS}/*/{RECORD}")}
    if trial not in records:
        names = ", ".join(sorted(records)) or "none"
        raise MissingError(f"no record of trial {trial!r} in {paths.sweep}; known: {names}")
    record = json.loads(records[trial].read_text(encoding="utf-8"))
    rows = read_history(paths.tune / trial)
    # Only NaN differs from itself; JSON has no word for it.
    last = {name: value for name, value in rows[-1].items() if value == value} if rows else None
    return {"record": record, "last": last}


def budget(trials: Sequence[Trial], paths: RunPaths, experiment: Experiment) -> dict[str, float]:
    """What the run may spend and has spent: trials, GRPO steps, seconds of trials, GPU-hours (of
    logical slots on the CPU profile) of trials, and of SFT, evaluation and promotion
    (`stage_gpu_hours`); `max_gpu_hours` and `usd` where the experiment says a cap or a price.
    """
    seconds = sum(seconds_spent(paths.tune / trial.id) for trial in trials)
    training, sweep = experiment.training, experiment.sweep
    gpu_hours = seconds * training.world_size / 3600
    stages = sum(read_spent(paths, experiment).values(), 0.0)
    spent = {
        "num_trials": sweep.total_trials,
        "num_started": len(trials),
        "num_steps": sum(trial.steps for trial in trials),
        "max_steps": sweep.total_trials * training.total_steps,
        "seconds": round(seconds, 1),
        "gpu_hours": round(gpu_hours, 4),
        "stage_gpu_hours": round(stages, 4),
    }
    if math.isfinite(sweep.gpu_hours_cap):
        spent["max_gpu_hours"] = round(sweep.gpu_hours_cap, 4)
    if sweep.gpu_hour_price:
        spent["usd"] = round((gpu_hours + stages) * sweep.gpu_hour_price, 2)
    return spent


def status_row(trial: Trial, pareto: Collection[str] = ()) -> dict[str, Any]:
    """One trial as `--json` prints it; `pareto` holds the ids on the Pareto front."""
    return {
        "id": trial.id,
        "state": trial.status,
        "stage": trial.stage,
        "reason": trial.reason,
        "steps": trial.steps,
        "params": dict(trial.params),
        "validation": dict(trial.validation),
        "objectives": dict(trial.objectives),
        "is_on_front": trial.id in pareto,
        "error": trial.error,
    }
