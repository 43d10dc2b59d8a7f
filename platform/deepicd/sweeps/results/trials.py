"""Trials by what Ray Tune wrote of them: reports → `records.Trial`.

In: Tune's results, or the folder of a trial. Out: a trial with its best validation, the checkpoint
of that validation, and its state. Decided here: the best validation is the highest score among the
reports that saved a checkpoint; a step that was reported twice counts as reported last.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepicd.checkpoints import MANIFEST
from deepicd.config import Experiment, Scalar, with_values
from deepicd.paths import trial_folder
from deepicd.records import Checkpoint, Trial
from deepicd.sweeps.results.pareto import objectives_of
from deepicd.training.grpo.metric_names import VALIDATION, validation

if TYPE_CHECKING:
    from ray import tune

_CHECKPOINT_KEY = "checkpoint_path"
ENDED_BY = "ended_by"
"""Key of a trial's last report that says why it ended before its last step, where no scheduler
chose."""
_REPORTS = "result.json"
"""Tune's own name."""
_REPORTS_BEFORE = "result-*.json"
"""Reports before each resume, the first start first."""


def trial_experiment(experiment: Experiment, params: Mapping[str, Scalar]) -> Experiment:
    """The experiment that one trial runs: the sweep's, with the sampled values in their places."""
    return with_values(experiment, params, source="sampled parameters")


def read_trials(results: "tune.ResultGrid", experiment: Experiment) -> list[Trial]:
    """One record per trial, in the order Tune started them."""
    return [_read_trial(result, experiment) for result in results]


def _read_trial(result: Any, experiment: Experiment) -> Trial:
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
        objectives=objectives_of(best, experiment.sweep.pursued) if best else {},
        reason=reason_of(history),
    )


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The last report of every step, from Tune's JSON lines; empty if it died before its first.

    A trial that went on from a checkpoint has reported the steps after it twice.
    """
    by_step = {row["step"]: row for rows in read_parts(folder) for row in rows}
    return [by_step[step] for step in sorted(by_step)]


def read_parts(folder: Path) -> list[list[dict[str, Any]]]:
    """Reports of a trial as they came, a list for each time that the sweep was started."""
    files = [*sorted(folder.glob(_REPORTS_BEFORE)), folder / _REPORTS]
    return [_read_lines(file) for file in files if file.is_file()]


def set_reports_aside(tune: Path) -> None:
    """Rename every trial's reports before a sweep resumes: Tune overwrites the file of a trial that
    it starts again.
    """
    for file in tune.glob(f"*/{_REPORTS}"):
        number = len(list(file.parent.glob(_REPORTS_BEFORE)))
        # Zeros in front, so that names sort as numbers.
        file.rename(file.with_stem(f"{file.stem}-{number:03}"))


def started_trials(tune: Path) -> list[Path]:
    """Folders of trials in the order they were started; one whose parameters are being written is
    not there yet.
    """
    # Tune writes a trial's parameters once, when it starts: their age is the order of starts.
    files = [file for file in tune.glob("*/params.json") if file.read_bytes().endswith(b"}")]
    return [file.parent for file in sorted(files, key=lambda file: file.stat().st_mtime)]


def seconds_spent(folder: Path, last: Mapping[str, Any] | None = None) -> float:
    """Seconds that a trial has run, over all starts of its sweep.

    A start that did not touch the trial leaves the reports of the one before, which count once.

    Args:
        folder: the trial's, of Tune.
        last: its last report where that is known: Tune brings reports to disk some seconds later.
    """
    before = [_read_lines(file) for file in sorted(folder.glob(_REPORTS_BEFORE))]
    parts: list[list[Any]] = read_parts(folder)
    if last is not None and "time_total_s" in last:
        parts = [*before, [last]]
    # By content: two starts that end with the same report are one start.
    rows = {json.dumps(part[-1], sort_keys=True, default=str): part[-1] for part in parts if part}
    return sum(float(row.get("time_total_s", 0.0)) for row in rows.values())


def _read_lines(file: Path) -> list[dict[str, Any]]:
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):  # a process that is killed leaves its last line unfinished
            rows.append(_here(json.loads(line), file.parent))
    return rows


def _here(row: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A report with its checkpoint where the trial lies now: Tune wrote where it lay then."""
    if _CHECKPOINT_KEY not in row:
        return row
    own = trial_folder(folder.parent.parent, folder.name) / Path(row[_CHECKPOINT_KEY]).name
    return {**row, _CHECKPOINT_KEY: str(own)} if own.is_dir() else row


def read_histories(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Trial id → its reports, for every trial in Tune's folder of a sweep."""
    folders = sorted({file.parent for file in folder.glob("*/*.json")})
    return {trial.name: history for trial in folders if (history := read_history(trial))}


def best_validation(
    history: Sequence[Mapping[str, Any]], metric: str, *, is_needed: bool = True
) -> Mapping[str, Any] | None:
    """The report with the best validation score among those that saved a checkpoint; earliest on a
    tie. A checkpoint that is not needed any more may be gone.
    """
    rows = [
        row
        for row in history
        if validation(metric) in row
        and row.get(_CHECKPOINT_KEY)
        and (not is_needed or _is_on_disk(row[_CHECKPOINT_KEY]))
    ]
    # `max` keeps the first of equals.
    return max(rows, key=lambda row: row[validation(metric)], default=None)


def _is_on_disk(checkpoint: str) -> bool:
    """Whether a checkpoint is still there, manifest included. Only a local path can be looked up;
    another one is taken to be there.
    """
    return not Path(checkpoint).is_absolute() or (Path(checkpoint) / MANIFEST).is_file()


def validation_of(row: Mapping[str, Any]) -> dict[str, float]:
    """Score set of a validation report."""
    return {key.removeprefix(VALIDATION): row[key] for key in row if key.startswith(VALIDATION)}


def checkpoint_of(row: Mapping[str, Any]) -> Checkpoint:
    """Checkpoint that a validation report came with."""
    return Checkpoint(path=row[_CHECKPOINT_KEY], step=int(row["step"]), metrics=validation_of(row))


def status_of(steps: int, total_steps: int, error: BaseException | None) -> str:
    """finished, stopped (early, by the scheduler or at a cap) or failed."""
    if error is not None:
        return "failed"
    return "finished" if steps >= total_steps else "stopped"


def reason_of(history: Sequence[Mapping[str, Any]]) -> str:
    """The cap at which a trial ended; empty for one that ended otherwise."""
    return str(history[-1].get(ENDED_BY, "")) if history else ""


def cause_of(error: BaseException) -> str:
    """Last line of the innermost error, which names the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
