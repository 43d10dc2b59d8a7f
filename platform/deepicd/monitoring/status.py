"""The prediction log → what a person or a script wants to know about the endpoint's quality.

In: a `PredictionLog`. Out: one JSON-ready table, and the rows of its windows for a terminal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from deepicd.monitoring.log import PredictionLog
from deepicd.records import Window

COLUMNS = ("version", "from (UTC)", "to (UTC)", "predictions", "labelled", "hF1", "interval")


def status(log: PredictionLog, *, size: int | None = None) -> dict[str, Any]:
    """Counts, hierarchical F1 of each version over all its labels (`overall`), and every window."""
    counts = log.counts()
    everything = max(1, counts["num_predictions"])
    return {
        **counts,
        "overall": [asdict(window) for window in log.windows(everything)],
        "windows": [asdict(window) for window in log.windows(size)],
    }


def table_rows(windows: Sequence[Window]) -> list[tuple[str, ...]]:
    """One row of text a window, in the order of `COLUMNS`."""
    return [
        (
            window.version,
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


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
