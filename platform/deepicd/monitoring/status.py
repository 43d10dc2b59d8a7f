"""The prediction log → what a person or a script wants to know about the endpoint's quality.

In: a `PredictionLog`. Out: one JSON-ready table, and the rows of its windows for a terminal.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from deepicd.monitoring.alerts import Alarm
from deepicd.monitoring.monitor import build_report
from deepicd.monitoring.prediction_log import PredictionLog
from deepicd.records import Window

COLUMNS = ("version", "from (UTC)", "to (UTC)", "predictions", "labelled", "hF1", "interval")


def status(log: PredictionLog, *, size: int | None = None) -> dict[str, Any]:
    """`report.build_report`, with its counts at the top as well."""
    report = build_report(log, size=size)
    return {**report["counts"], **report}


def table_rows(windows: Sequence[Window]) -> list[tuple[str, ...]]:
    """One row of text a window, in the order of `COLUMNS`."""
    return [
        (
            window.version if window.role == "champion" else f"{window.version} ({window.role})",
            _time(window.start),
            _time(window.end),
            str(window.num_predictions),
            str(window.num_labelled),
            _number(window.hierarchical_f1),
            f"{_number(window.low)} to {_number(window.high)}" if window.num_labelled else "–",
        )
        for window in windows
    ]


def describe_counts(counts: Mapping[str, int]) -> str:
    """`PredictionLog.counts` in one line."""
    return (
        f"{counts['num_predictions']} predictions, {counts['num_labelled']} labelled, "
        f"{counts['num_unparsable']} without a usable code; "
        f"{counts['num_waiting']} labels wait for their prediction"
    )


def describe_alarm(alarm: Alarm) -> str:
    """An alarm in one line."""
    return (
        f"{alarm.state}: {alarm.rule} ({alarm.severity}) of {alarm.version} ({alarm.role}), "
        f"{_number(alarm.value)} since {_time(alarm.since)} UTC; see {alarm.runbook}"
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
