"""The trials of a sweep while it goes on, as one table that a terminal draws anew in place.

In: what Tune reports of each trial. Out: a table for people. Running trials come first, then the
best of those that are over. Plain values only: Tune pickles it with the state of a sweep.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from deepicd.sweeps.callbacks.eta import clock
from deepicd.sweeps.results.decision import show_interval
from deepicd.training.grpo.metric_names import THROUGHPUT

_MAX_ROWS = 20
"""A table higher than the terminal could not be drawn in place."""


@dataclass(frozen=True)
class Line:
    """One trial."""

    id: str
    params: Mapping[str, Any]
    state: str = "running"
    step: int = 0
    score: float | None = None
    low: float | None = None
    high: float | None = None
    tokens_per_s: float | None = None
    """Per GPU."""
    left_s: float = 0.0


class Board:
    """What is known of the trials so far."""

    def __init__(self, *, num_trials: int, total_steps: int, metric: str) -> None:
        self._num_trials = num_trials
        self._total_steps = total_steps
        self._metric = metric
        self._lines: dict[str, Line] = {}
        self._left_s = 0.0

    def start(self, trial: str, params: Mapping[str, Any]) -> None:
        """A trial starts, or starts again."""
        known = self._lines.get(trial, Line(trial, dict(params)))
        self._lines[trial] = replace(known, state="running")

    def advance(self, trial: str, report: Mapping[str, Any], left_s: tuple[float, float]) -> None:
        """A trial reports; `left_s`: seconds left in it and in the sweep."""
        line, metric = self._lines[trial], self._metric
        if metric in report:
            low, high = (report.get(f"{metric}_{end}") for end in ("low", "high"))
            line = replace(line, score=report[metric], low=low, high=high)
        self._lines[trial] = replace(
            line,
            step=int(report["step"]),
            tokens_per_s=report.get(THROUGHPUT, line.tokens_per_s),
            left_s=left_s[0],
        )
        self._left_s = left_s[1]

    def end(self, trial: str, *, has_failed: bool = False) -> None:
        """A trial is over; one that failed before it started has no values."""
        line = self._lines.get(trial, Line(trial, {}))
        is_whole = line.step >= self._total_steps
        state = "failed" if has_failed else "finished" if is_whole else "stopped"
        self._lines[trial] = replace(line, state=state, left_s=0.0)

    def table(self) -> Table:
        """The trials as they stand."""
        lines = sorted(self._lines.values(), key=_rank)
        score = self._metric.replace("/", "\n")
        table = Table(
            *(Column(head, no_wrap=head != score) for head in ("trial", "step", score)),
            *(Column(head, no_wrap=True) for head in ("tokens/s\nper GPU", "state", "left")),
            Column("parameters", overflow="fold", ratio=1),
            title=f"{len(lines)} of {self._num_trials} trials, at most {clock(self._left_s)} left",
            title_justify="left",
            box=SIMPLE_HEAD,
            pad_edge=False,
        )
        for line in lines[:_MAX_ROWS]:
            values = (f"{key.split('.')[-1]}={show(one)}" for key, one in line.params.items())
            table.add_row(line.id, *self._cells(line), " ".join(values))
        if len(lines) > _MAX_ROWS:
            table.caption = f"and {len(lines) - _MAX_ROWS} more that are over"
        return table

    def _cells(self, line: Line) -> tuple[str, ...]:
        tokens = "-" if line.tokens_per_s is None else f"{line.tokens_per_s:.0f}"
        left = clock(line.left_s) if line.state == "running" and line.step else "-"
        score = "-" if line.score is None else f"{line.score:.3f}"
        interval = show_interval(line.low, line.high)
        return f"{line.step}/{self._total_steps}", score + interval, tokens, line.state, left


def show(value: object) -> str:
    """A parameter value for people."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _rank(line: Line) -> tuple[bool, float]:
    return line.state != "running", -1.0 if line.score is None else -line.score
