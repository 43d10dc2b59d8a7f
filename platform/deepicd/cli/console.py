"""What commands print: progress on standard error, the outcome on standard output.

In: the records of the logger "deepicd", and outcomes. Out: lines and tables. Decided here: progress
is one line a record, above a table of trials that is drawn anew in place where standard error is a
terminal; both go through one console, so that neither is written into the other. A record with the
attribute `live_table` is shown as this table while one is drawn, else as a line.
"""

import json
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from deepicd.cli.text import context_cells, reply_cells
from deepicd.files import json_text

if TYPE_CHECKING:
    from deepicd.config import SweepConfig
    from deepicd.pipeline.loop import Ended
    from deepicd.records import Trial
    from deepicd.sweeps.results.decision import SweepDecision
    from deepicd.sweeps.results.status import SweepStatus

_MADE_BY = {
    "sft": "the SFT start",
    "base": "the model that GRPO began from",
    "grpo": "a GRPO training",
    "by hand": "a model that was registered by hand",
    "": "a model of unknown origin",
}
"""What made a version that is of no trial."""
_REPLY_COLUMNS = ("source", "code", "title", "chapter", "confidence", "version", "prediction id")


class ConsoleHandler(logging.Handler):
    """Prints the messages of log records on standard error."""

    def __init__(self, *, has_clock: bool) -> None:
        super().__init__()
        # The stream of now: during a run `sys.stderr` is a file for what libraries print.
        self._console = Console(file=sys.stderr, highlight=False)
        self._has_clock = has_clock
        self._started = time.monotonic()
        self._live: Live | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Draw the table of a record that has one, or print its line."""
        table = getattr(record, "live_table", None)
        if self._live is not None and table is not None:
            self._live.update(table, refresh=True)
        elif record.levelno >= logging.INFO:
            line = f"{self._clock()}{record.getMessage()}"
            self._console.print(line, markup=False, emoji=False, soft_wrap=True)

    def _clock(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        return f"{minutes:3d}:{seconds:02d} " if self._has_clock else ""

    @contextmanager
    def live_table(self, *, is_shown: bool = True) -> Iterator[None]:
        """Draw the tables of records below the lines for the duration of a block, unless standard
        error is no terminal.
        """
        if not (is_shown and self._console.is_terminal):
            yield
            return
        with Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            # rich would print standard output through this console, which is standard error.
            redirect_stdout=False,
            redirect_stderr=False,
        ) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None


def configure_logging(*, has_clock: bool = False) -> ConsoleHandler:
    """Let this process's logger "deepicd" print on standard error, and nowhere else.

    Args:
        has_clock: begin each line with the minutes and seconds since this call.
    """
    handler = ConsoleHandler(has_clock=has_clock)
    logger = logging.getLogger("deepicd")
    # Replaced, not added: a command configures again what the start of `deepicd` configured.
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG)  # records below INFO may carry a table; they are no lines
    logger.propagate = False  # a library that configures the root logger would print lines twice
    return handler


def print_outcome(
    value: Any, lines: Iterable[str], *, as_json: bool, indent: int | None = 2
) -> None:
    """Print an outcome on standard output: as JSON, or as lines for people."""
    print(_as_text(value, indent) if as_json else "\n".join(lines))


def _as_text(value: Any, indent: int | None) -> str:
    plain = json.loads(json.dumps(value, default=str))
    return json_text(plain, indent=indent, sort_keys=False)


def print_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table on standard output."""
    table = Table(*columns)
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)


def print_replies(rows: Iterable[Mapping[str, Any]], total: int, *, as_json: bool) -> int:
    """Print the endpoint's replies: JSON lines at once, or a table at the end. A single reply also
    shows its reasoning. Returns how many notes were refused.
    """
    replies, num_refused = [], 0
    shown = total > 1 and sys.stderr.isatty()
    progress = Console(stderr=True)
    for row in track(rows, "notes", total=total, console=progress, disable=not shown):
        num_refused += "error" in row
        if as_json:
            # A pipe gets each row when it is there: Python holds back lines that go to no terminal.
            print(json.dumps(row, ensure_ascii=False), flush=True)
        else:
            replies.append(row)
    if not as_json:
        print_table(_REPLY_COLUMNS, map(reply_cells, replies))
        if len(replies) == 1 and replies[0].get("reasoning"):
            Console().print(replies[0]["reasoning"], markup=False, highlight=False)
    return num_refused


def print_sweep(status: "SweepStatus", *, as_json: bool) -> None:
    """Print the trials of a sweep, what they cost, and which one won."""
    output = Outcome(as_json=as_json)
    output.show_trials(
        status.trials,
        status.experiment.sweep,
        budget=status.budget,
        decision=status.decision,
        context=status.context,
    )


def print_run(ended: "Ended", root: Path, *, as_json: bool) -> None:
    """Print what a run found; where nothing was promoted, its sweep."""
    if ended.summary:
        Outcome(as_json=as_json).show_run(ended.summary, root)
    else:
        print_sweep(ended.sweep, as_json=as_json)


class Outcome:
    """The closing tables, or JSON, on standard output."""

    def __init__(self, *, as_json: bool) -> None:
        self._output = Console(file=sys.stdout, highlight=False)
        self._as_json = as_json

    def show_trials(
        self,
        trials: "Sequence[Trial]",
        sweep: "SweepConfig",
        *,
        budget: Mapping[str, float],
        decision: "SweepDecision | None" = None,
        context: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Leaderboard, what was spent, who won and its context, or all of it as JSON."""
        from deepicd.sweeps.callbacks.progress import trial_table
        from deepicd.sweeps.results.pareto import pareto_front
        from deepicd.sweeps.results.status import status_row

        pareto = pareto_front(trials, sweep.pursued)
        if self._as_json:
            rows = [status_row(trial, pareto) for trial in trials]
            ranking = asdict(decision) if decision else None
            shown = {"trials": rows, "budget": dict(budget), "decision": ranking}
            print(json_text({**shown, "context": list(context)}, sort_keys=False))
        else:
            marked = pareto if sweep.objectives else ()
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
            if context:
                self._output.print(_context_table(context, "validation split"))

    def show_run(self, summary: Mapping[str, Any], root: Path) -> None:
        """The closing table of a whole run, or its summary as JSON."""
        if self._as_json:
            print(json_text(summary))
            return
        self._output.print(_context_table(summary["context"]["test"], "test split"))
        champion = summary["champion"]
        who = f"trial {champion['trial']}" if champion["trial"] else _MADE_BY[champion["stage"]]
        how = "won at the gate" if summary["decision"]["accepted"] else "stays: no trial won"
        run = f" of run {champion['run']}" if champion["run"] else ""
        self._output.print(f"champion: {summary['version']}, {who}{run} ({how})", markup=False)
        if summary["monitor"]:
            self._output.print(
                f"monitoring: hierarchical F1 {summary['monitor']['hierarchical_f1']:.3f} over "
                f"{summary['monitor']['labelled']} labels"
            )
        self._output.print(f"report: {(root / 'report.html').resolve().as_uri()}", soft_wrap=True)


def _capped(budget: Mapping[str, float]) -> str:
    if "max_gpu_hours" not in budget:
        return ""
    spent = budget["gpu_hours"] + budget["stage_gpu_hours"]
    return f", {spent:.2f} of {budget['max_gpu_hours']:.2f} GPU-hours"


def _context_table(rows: Sequence[Mapping[str, Any]], split: str) -> Table:
    """Who answered the notes of a split, and how the model compares with each on the same notes."""
    model = next(row["title"] for row in rows if row["is_model"])
    table = Table(split, "notes", "hierarchical F1", f"{model}, on the same notes", "unparsable")
    for row in rows:
        table.add_row(*(escape(cell) for cell in context_cells(row)))
    return table
