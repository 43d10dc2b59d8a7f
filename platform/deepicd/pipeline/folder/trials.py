"""Trials in a run's files: places of checkpoints count from its folder, so that it may be moved.

In: trials with checkpoints on this machine. Out: the same for a file, and back.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from deepicd.paths import RunPaths
from deepicd.pipeline.values import read_value, write_value
from deepicd.records import Trial

if TYPE_CHECKING:
    from deepicd.sweeps.results.decision import SweepResult


def without_root(trial: Trial, root: Path) -> Trial:
    """A trial as a file of the run in `root` has it; a checkpoint elsewhere keeps its place."""
    if trial.checkpoint is None or not Path(trial.checkpoint.path).is_relative_to(root):
        return trial
    path = str(Path(trial.checkpoint.path).relative_to(root))
    return replace(trial, checkpoint=replace(trial.checkpoint, path=path))


def with_root(trial: Trial, root: Path) -> Trial:
    """A trial of such a file, its checkpoint where the run lies now."""
    if trial.checkpoint is None:
        return trial
    path = str(root / trial.checkpoint.path)
    return replace(trial, checkpoint=replace(trial.checkpoint, path=path))


def write_swept(paths: RunPaths, result: "SweepResult") -> None:
    """Keep what a sweep ended with."""
    from deepicd.sweeps.results.decision import SweepResult

    trials = [without_root(trial, paths.root) for trial in result.trials]
    write_value(paths.swept, SweepResult(trials, result.decision), SweepResult)


def read_swept(paths: RunPaths) -> "SweepResult":
    """What `write_swept` kept.

    Raises:
        DataError: it was changed by hand.
    """
    from deepicd.sweeps.results.decision import SweepResult

    result: SweepResult = read_value(paths.swept, SweepResult)
    trials: Sequence[Trial] = [with_root(trial, paths.root) for trial in result.trials]
    return SweepResult(trials, result.decision)
