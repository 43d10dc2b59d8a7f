"""What a sweep logs while it runs, and the table of trials when it is over.

In: what Ray Tune reports of each trial. Out: log records. A record about a report carries the table
of all trials as the attribute `live_table`: a console that draws this table in place shows it
instead of the line (`cli.console`). The table travels with the record because Tune pickles its
callbacks with the state of a sweep, and a terminal does not pickle.
"""

import logging
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from rich.table import Table

from deepicd.paths import trial_folder
from deepicd.records import Trial
from deepicd.scoring import mark_few
from deepicd.sweeps.callbacks.eta import SweepEta, clock
from deepicd.sweeps.callbacks.live_table import LiveTable, show
from deepicd.sweeps.results.decision import show_interval
from deepicd.training.grpo import metric_names
from deepicd.training.process.events import read_events

_log = logging.getLogger(__name__)

_EVERY = 5
"""Steps after which a line is logged about a trial, where none of them validates."""


class TrialProgress(tune.Callback):
    """Logs at every validation and every few steps how a trial is doing: step, reward, score, and
    how long it and the sweep can still take. Passes on what trials report themselves.
    """

    def __init__(
        self, *, num_trials: int, total_steps: int, metric: str, sweep: Path, at_once: int = 1
    ) -> None:
        self._eta = SweepEta(num_trials, total_steps, at_once=at_once)
        self._live_table = LiveTable(num_trials=num_trials, total_steps=total_steps, metric=metric)
        self._total_steps = total_steps
        self._metric = metric
        self._sweep = sweep
        self._interruptions: dict[str, int] = {}
        self._heard: dict[str, int] = {}

    def _log_table(self) -> None:
        _log.debug(
            "the table of trials has changed", extra={"live_table": self._live_table.table()}
        )

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Log which values a trial runs with. Its events of an earlier start were shown."""
        folder = trial_folder(self._sweep, trial.trial_id)
        self._heard[trial.trial_id] = read_events(folder)[1]
        self._eta.start(trial.trial_id, time.monotonic())
        self._live_table.start(trial.trial_id, trial.config)
        values = ", ".join(f"{key}={show(value)}" for key, value in trial.config.items())
        _log.info("trial %s starts (%d so far): %s", trial.trial_id, len(trials), values)

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """Pass on what trials report, some times a minute whatever they do."""
        for trial, heard in self._heard.items():
            lines, self._heard[trial] = read_events(trial_folder(self._sweep, trial), heard)
            for line in lines:
                _log.info("trial %s %s", trial, line)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        """Log how a trial is doing."""
        step = int(result["step"])
        if result.get(metric_names.INTERRUPTIONS, 0) > self._interruptions.get(trial.trial_id, 0):
            self._interruptions[trial.trial_id] = result[metric_names.INTERRUPTIONS]
            _log.warning(
                "trial %s interrupted after step %d: %s; it goes on from its last checkpoint",
                trial.trial_id,
                step,
                result[metric_names.INTERRUPTION],
            )
        self._eta.advance(trial.trial_id, step, time.monotonic())
        in_trial, in_sweep = self._eta.remaining_s(trial.trial_id)
        self._live_table.advance(trial.trial_id, result, (in_trial, in_sweep))
        # A step between two lines changes the table only: below INFO a console prints no line.
        is_line = step > 0 and (self._metric in result or step % _EVERY == 0)
        score = f", {self._metric} {result[self._metric]:.3f}" if self._metric in result else ""
        reward = result.get(metric_names.REWARD, float("nan"))
        _log.log(
            logging.INFO if is_line else logging.DEBUG,
            f"trial {trial.trial_id} step {step}/{self._total_steps}: reward {reward:.3f}{score} "
            f"(left: trial {clock(in_trial)}, sweep {clock(in_sweep)} at most)",
            extra={"live_table": self._live_table.table()},
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Log that a trial is over."""
        self._eta.end(trial.trial_id)
        self._live_table.end(trial.trial_id)
        self._log_table()
        _log.info("trial %s over after step %s", trial.trial_id, trial.last_result.get("step", 0))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Log that a trial failed; its cause stands in the table."""
        self._eta.end(trial.trial_id)
        self._live_table.end(trial.trial_id, has_failed=True)
        self._log_table()
        _log.warning("trial %s failed; the sweep goes on", trial.trial_id)


def trial_table(trials: Sequence[Trial], metric: str, pareto: Collection[str] = ()) -> Table:
    """Leaderboard, best first; `pareto` holds the ids on the Pareto front, which are marked."""
    addresses = sorted({address for trial in trials for address in trial.params})
    table = Table(
        "trial", "state", "steps", metric, *(address.split(".")[-1] for address in addresses)
    )
    # No score is below 0, so a trial without one comes last.
    for trial in sorted(trials, key=lambda trial: -trial.validation.get(metric, -1.0)):
        score = trial.validation.get(metric)
        cells = [show(trial.params.get(address, "")) for address in addresses]
        table.add_row(
            f"{trial.id} *" if trial.id in pareto else trial.id,
            ": ".join(filter(None, (trial.status, trial.stage or trial.reason))),
            str(trial.steps),
            "-" if score is None else f"{score:.3f}{_interval_of(trial, metric)}",
            *cells,
        )
    return table


def _interval_of(trial: Trial, metric: str) -> str:
    ends = (trial.validation.get(f"{metric}_{end}") for end in ("low", "high"))
    return show_interval(*ends, few=mark_few(trial.validation))
