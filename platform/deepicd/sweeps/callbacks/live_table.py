"""The trials of a running sweep as one table, which a terminal draws in place.

In: what Ray Tune reports of each trial. Out: a `rich` table. Decided here: running trials come
first, then the best of those that are over. Only plain values are held, because Tune pickles its
callbacks with the state of a sweep.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from deepicd.scoring import mark_few
from deepicd.sweeps.callbacks.eta import clock
from deepicd.sweeps.results.decision import show_interval
from deepicd.training.grpo.metric_names import THROUGHPUT, validation

_MAX_ROWS = 20
"""A table higher than the terminal could not be drawn in place."""


@dataclass(frozen=True)
class _Row:
    """One trial."""

    id: str
    params: Mapping[str, Any]
    state: str = "running"
    step: int = 0
    score: float | None = None
    low: float | None = None
    high: float | None = None
    few: str = ""
    """What marks an interval of few patients."""
    tokens_per_s: float | None = None
    """Per GPU."""
    left_s: float = 0.0


class LiveTable:
    """The latest report of every trial, as rows of a table."""

    def __init__(self, *, num_trials: int, total_steps: int, metric: str) -> None:
        self._num_trials = num_trials
        self._total_steps = total_steps
        self._metric = metric
        self._rows: dict[str, _Row] = {}
        self._left_s = 0.0

    def start(self, trial: str, params: Mapping[str, Any]) -> None:
        """A trial starts, or starts again."""
        row = self._rows.get(trial, _Row(trial, dict(params)))
        self._rows[trial] = replace(row, state="running")

    def advance(self, trial: str, report: Mapping[str, Any], left_s: tuple[float, float]) -> None:
        """A trial reports; `left_s`: seconds left in it and in the sweep."""
        row, metric = self._rows[trial], self._metric
        if metric in report:
            low, high = (report.get(f"{metric}_{end}") for end in ("low", "high"))
            row = replace(row, score=report[metric], low=low, high=high, few=_few(report))
        self._rows[trial] = replace(
            row,
            step=int(report["step"]),
            tokens_per_s=report.get(THROUGHPUT, row.tokens_per_s),
            left_s=left_s[0],
        )
        self._left_s = left_s[1]

    def end(self, trial: str, *, has_failed: bool = False) -> None:
        """A trial is over; one that failed before it started has no values."""
        row = self._rows.get(trial, _Row(trial, {}))
        is_whole = row.step >= self._total_steps
        state = "failed" if has_failed else "finished" if is_whole else "stopped"
        self._rows[trial] = replace(row, state=state, left_s=0.0)

    def table(self) -> Table:
        """The trials as they stand."""
        rows = sorted(self._rows.values(), key=_rank)
        score = self._metric.replace("/", "\n")  # a narrower column
        table = Table(
            *(Column(head, no_wrap=head != score) for head in ("trial", "step", score)),
            *(Column(head, no_wrap=True) for head in ("tokens/s\nper GPU", "state", "left")),
            Column("parameters", overflow="fold", ratio=1),
            title=f"{len(rows)} of {self._num_trials} trials, at most {clock(self._left_s)} left",
            title_justify="left",
            box=SIMPLE_HEAD,
            pad_edge=False,
        )
        for row in rows[:_MAX_ROWS]:
            values = (f"{key.split('.')[-1]}={show(value)}" for key, value in row.params.items())
            table.add_row(row.id, *self._cells(row), " ".join(values))
        if len(rows) > _MAX_ROWS:
            table.caption = f"and {len(rows) - _MAX_ROWS} more that are over"
        return table

    def _cells(self, row: _Row) -> tuple[str, ...]:
        tokens = "-" if row.tokens_per_s is None else f"{row.tokens_per_s:.0f}"
        # Before the first step nothing is measured.
        left = clock(row.left_s) if row.state == "running" and row.step else "-"
        score = "-" if row.score is None else f"{row.score:.3f}"
        interval = show_interval(row.low, row.high, few=row.few)
        return f"{row.step}/{self._total_steps}", score + interval, tokens, row.state, left


def _few(report: Mapping[str, Any]) -> str:
    return mark_few({"has_few_patients": report.get(validation("has_few_patients"))})


def show(value: object) -> str:
    """A parameter value for people."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _rank(row: _Row) -> tuple[bool, float]:
    # No score is below 0, so a trial without one comes last of its kind.
    return row.state != "running", 1.0 if row.score is None else -row.score
