"""What long commands print: progress on standard error, the outcome on standard output.

Progress is lines, above a table of trials that is drawn anew in place where standard error is a
terminal. Both go through one console, so that neither is written into the other.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from deepicd.config import SweepConfig
from deepicd.records import Trial
from deepicd.scoring import HEADLINE

if TYPE_CHECKING:
    from deepicd.sweeps.results.decision import SweepDecision


class Screen:
    """Progress lines with the time since the start, and the closing tables."""

    def __init__(self, *, as_json: bool) -> None:
        # The streams of now: during a run `sys.stdout` is a file for what libraries print.
        self._progress = Console(file=sys.stderr, highlight=False)
        self._output = Console(file=sys.stdout, highlight=False)
        self._as_json = as_json
        self._started = time.monotonic()

    def say(self, line: str) -> None:
        """One line of progress."""
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        self._progress.print(f"{minutes:3d}:{seconds:02d} {line}", markup=False, soft_wrap=True)

    @contextmanager
    def live(self) -> Iterator[Callable[[Table], None] | None]:
        """A function that draws a table below the lines said so far, for the duration of a block;
        None where nobody would see it: no terminal, or JSON is asked for.
        """
        if self._as_json or not self._progress.is_terminal:
            yield None
            return
        with Live(
            console=self._progress,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as live:
            yield lambda table: live.update(table, refresh=True)

    def show_trials(
        self,
        trials: Sequence[Trial],
        sweep: SweepConfig,
        *,
        budget: Mapping[str, float],
        decision: "SweepDecision | None" = None,
    ) -> None:
        """Leaderboard, what was spent and who won, or all of it as JSON."""
        from deepicd.sweeps.callbacks.progress import trial_table
        from deepicd.sweeps.results.pareto import pareto_front
        from deepicd.sweeps.results.status import status_row

        front = pareto_front(trials, sweep.pursued)
        if self._as_json:
            rows = [status_row(trial, front) for trial in trials]
            ranking = asdict(decision) if decision else None
            shown = {"trials": rows, "budget": dict(budget), "decision": ranking}
            print(json.dumps(shown, indent=2))
        else:
            marked = front if sweep.objectives else ()
            self._output.print(trial_table(trials, sweep.metric, marked))
            if marked:
                self._output.print(f"* no other trial beats it at {', '.join(sweep.objectives)}")
            self._output.print(
                f"{budget['num_started']} of {budget['num_trials']} trials, "
                f"{budget['num_steps']} of at most {budget['max_steps']} steps, "
                f"{budget['seconds'] / 60:.1f} minutes{_capped(budget)}"
            )
            if decision and decision.winner:
                self._output.print(f"winner: trial {decision.winner}, {decision.why}", markup=False)

    def show_run(self, summary: Mapping[str, Any], root: Path) -> None:
        """The closing table of a whole run, or its summary as JSON."""
        if self._as_json:
            print(json.dumps(summary, indent=2, sort_keys=True))
            return
        self._output.print(score_table(summary))
        champion = summary["champion"]["trial"]
        who = f"trial {champion}" if champion else "the SFT start (no trial won the gate)"
        self._output.print(f"champion: {summary['version']}, {who}")
        self._output.print(
            f"monitoring: hierarchical F1 {summary['monitor']['hierarchical_f1']:.3f} over "
            f"{summary['monitor']['labelled']} labels"
        )
        self._output.print(f"report: {(root / 'report.html').resolve().as_uri()}", soft_wrap=True)


def _capped(budget: Mapping[str, float]) -> str:
    if "max_gpu_hours" not in budget:
        return ""
    return f", {budget['gpu_hours']:.2f} of {budget['max_gpu_hours']:.2f} GPU-hours"


def score_table(summary: Mapping[str, Any]) -> Table:
    """Baselines and best trial on the test split."""
    headers = (name.replace("_f1", " F1").replace("F1_", "F1\n") for name in HEADLINE)
    table = Table("test split", *headers, "unparsable", title=summary["experiment"])
    rows = {**summary["baselines"], "best trial": summary["best"]["test"]}
    for name, scores in rows.items():
        cells = (f"{scores[level]:.3f}" for level in HEADLINE)
        table.add_row(name, *cells, f"{scores['share_unparsable']:.1%}")
    return table


def wait_for_interrupt(screen: Screen) -> Callable[[Any], None]:
    """A function that keeps an endpoint up until Ctrl-C."""

    def wait(endpoint: Any) -> None:
        screen.say(f"{endpoint.url} stays up; Ctrl-C ends it")
        try:
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            screen.say("stopping the endpoint")

    return wait
