"""What a sweep shows while it runs: one line a report, and a table of trials."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from ray import tune
from rich.table import Table

from deepicd.records import Trial

Say = Callable[[str], None]


class TrialProgress(tune.Callback):
    """Print a line at every validation and every few steps: trial, step, reward, score, time left
    in the trial.
    """

    def __init__(self, say: Say, *, total_steps: int, metric: str, every: int = 5) -> None:
        self._say = say
        self._total_steps = total_steps
        self._metric = metric
        self._every = every
        self._started: dict[str, float] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks with the experiment's state; a screen does not pickle."""
        return {**self.__dict__, "_say": print}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Say which values a trial runs with."""
        self._started[trial.trial_id] = time.monotonic()
        values = ", ".join(f"{key}={show(value)}" for key, value in trial.config.items())
        self._say(f"trial {trial.trial_id} starts ({len(trials)} so far): {values}")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        """Say how a trial is doing."""
        step = int(result["step"])
        if step == 0 or (self._metric not in result and step % self._every):
            return
        score = f", {self._metric} {result[self._metric]:.3f}" if self._metric in result else ""
        reward = result.get("critic/score/mean", float("nan"))
        elapsed = time.monotonic() - self._started.get(trial.trial_id, time.monotonic())
        step_s = result.get("timing_s/step", 0.0)
        self._say(
            f"trial {trial.trial_id} step {step}/{self._total_steps}: reward {reward:.3f}{score} "
            f"({elapsed:.0f} s, {(self._total_steps - step) * step_s:.0f} s of steps left)"
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Say that a trial is over."""
        self._say(f"trial {trial.trial_id} over after step {trial.last_result.get('step', 0)}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Say that a trial failed; its cause stands in the table."""
        self._say(f"trial {trial.trial_id} failed; the sweep goes on")


def trial_table(trials: Sequence[Trial], metric: str) -> Table:
    """Leaderboard, best first."""
    addresses = sorted({address for trial in trials for address in trial.params})
    table = Table(
        "trial", "state", "steps", metric, *(address.split(".")[-1] for address in addresses)
    )
    for trial in sorted(trials, key=lambda trial: -trial.validation.get(metric, -1.0)):
        score = trial.validation.get(metric)
        cells = [show(trial.params.get(address, "")) for address in addresses]
        table.add_row(
            trial.id,
            trial.status,
            str(trial.steps),
            "-" if score is None else f"{score:.3f}",
            *cells,
        )
    return table


def show(value: object) -> str:
    """A parameter value for people."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
