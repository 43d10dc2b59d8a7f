"""What a sweep shows while it runs: one line a report, or in a terminal a table that is drawn anew
in place; and the table of trials when it is over.
"""

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from rich.table import Table

from deepicd.paths import trial_folder
from deepicd.records import Trial
from deepicd.sweeps.callbacks.eta import TimeLeft, clock
from deepicd.sweeps.callbacks.live_table import Board, show
from deepicd.sweeps.results.decision import show_interval
from deepicd.training.grpo import metric_names
from deepicd.training.process.events import read_events

Say = Callable[[str], None]
Draw = Callable[[Table], None]
_voices: list[Say] = [print]
_painters: list[Draw] = []


def speak_by(say: Say, draw: Draw | None = None) -> None:
    """Choose who prints the lines of this process's sweep, and who draws its table in place: Tune
    pickles its callbacks with the state of a sweep, and a screen does not pickle.
    """
    _voices[0] = say
    _painters[:] = [draw] if draw is not None else []


def say(line: str) -> None:
    """One line about the sweep of this process."""
    _voices[0](line)


_EVERY = 5
"""Steps after which a trial is heard of, where none of them validates."""


class TrialProgress(tune.Callback):
    """Say at every validation and every few steps how a trial is doing: step, reward, score, and
    how long it and the sweep can still take; and what a trial has to say itself. Where a table is
    drawn, it says how trials are doing instead.
    """

    def __init__(
        self, *, num_trials: int, total_steps: int, metric: str, sweep: Path, at_once: int = 1
    ) -> None:
        self._left = TimeLeft(num_trials, total_steps, at_once=at_once)
        self._board = Board(num_trials=num_trials, total_steps=total_steps, metric=metric)
        self._total_steps = total_steps
        self._metric = metric
        self._sweep = sweep
        self._interruptions: dict[str, int] = {}
        self._heard: dict[str, int] = {}

    def _draw(self) -> None:
        for draw in _painters:
            draw(self._board.table())

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Say which values a trial runs with. Its events of an earlier start were shown."""
        folder = trial_folder(self._sweep, trial.trial_id)
        self._heard[trial.trial_id] = read_events(folder)[1]
        self._left.start(trial.trial_id, time.monotonic())
        self._board.start(trial.trial_id, trial.config)
        values = ", ".join(f"{key}={show(value)}" for key, value in trial.config.items())
        say(f"trial {trial.trial_id} starts ({len(trials)} so far): {values}")

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """Pass on what trials say, some times a minute whatever they do."""
        for trial, heard in self._heard.items():
            lines, self._heard[trial] = read_events(trial_folder(self._sweep, trial), heard)
            for line in lines:
                say(f"trial {trial} {line}")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        """Say how a trial is doing."""
        step = int(result["step"])
        if result.get(metric_names.INTERRUPTIONS, 0) > self._interruptions.get(trial.trial_id, 0):
            self._interruptions[trial.trial_id] = result[metric_names.INTERRUPTIONS]
            say(
                f"trial {trial.trial_id} interrupted after step {step}: "
                f"{result[metric_names.INTERRUPTION]}; it goes on from its last checkpoint"
            )
        self._left.advance(trial.trial_id, step, time.monotonic())
        in_trial, in_sweep = self._left.seconds(trial.trial_id)
        self._board.advance(trial.trial_id, result, (in_trial, in_sweep))
        self._draw()
        if _painters or step == 0 or (self._metric not in result and step % _EVERY):
            return
        score = f", {self._metric} {result[self._metric]:.3f}" if self._metric in result else ""
        reward = result.get(metric_names.REWARD, float("nan"))
        say(
            f"trial {trial.trial_id} step {step}/{self._total_steps}: reward {reward:.3f}{score} "
            f"(left: trial {clock(in_trial)}, sweep {clock(in_sweep)} at most)"
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Say that a trial is over."""
        self._left.end(trial.trial_id)
        self._board.end(trial.trial_id)
        self._draw()
        say(f"trial {trial.trial_id} over after step {trial.last_result.get('step', 0)}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Say that a trial failed; its cause stands in the table."""
        self._left.end(trial.trial_id)
        self._board.end(trial.trial_id, has_failed=True)
        self._draw()
        say(f"trial {trial.trial_id} failed; the sweep goes on")


def trial_table(trials: Sequence[Trial], metric: str, front: Collection[str] = ()) -> Table:
    """Leaderboard, best first; `front` holds the ids of trials to mark."""
    addresses = sorted({address for trial in trials for address in trial.params})
    table = Table(
        "trial", "state", "steps", metric, *(address.split(".")[-1] for address in addresses)
    )
    for trial in sorted(trials, key=lambda trial: -trial.validation.get(metric, -1.0)):
        score = trial.validation.get(metric)
        cells = [show(trial.params.get(address, "")) for address in addresses]
        table.add_row(
            f"{trial.id} *" if trial.id in front else trial.id,
            f"{trial.status}: {trial.stage}" if trial.stage else trial.status,
            str(trial.steps),
            "-" if score is None else f"{score:.3f}{_interval_of(trial, metric)}",
            *cells,
        )
    return table


def _interval_of(trial: Trial, metric: str) -> str:
    ends = (trial.validation.get(f"{metric}_{end}") for end in ("low", "high"))
    return show_interval(*ends)
