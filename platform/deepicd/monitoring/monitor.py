"""The prediction log → all that is known about the endpoint's quality, as one JSON-ready table.

In: a `PredictionLog`. Out: `build_report`, which `/v1/monitor`, its metrics and `deepicd monitor
status --json` show. Decided here: champion, canary and shadow stand side by side; a shadow is also
compared with the champion pair by pair, by agreement without labels and by hierarchical F1 where
they are labelled; alerts follow from the windows alone, so the same log gives the same report.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from statistics import fmean
from typing import TYPE_CHECKING, Any

from deepicd import codes, scoring
from deepicd.monitoring.alerts import Alert, find_alerts
from deepicd.monitoring.prediction_log import PredictionLog
from deepicd.records import Prediction, Window

COLUMNS = ("version", "from (UTC)", "to (UTC)", "predictions", "labelled", "hF1", "interval")

if TYPE_CHECKING:
    from deepicd.monitoring.prediction_log import Pair

_LEVELS: Mapping[str, Callable[[str], str]] = {
    "code": str,
    "category": codes.category,
    "chapter": codes.chapter,
}
_SHOWN = 200
"""Latest windows in the report; alerts are judged by all."""


def build_report(log: "PredictionLog", *, size: int | None = None) -> dict[str, Any]:
    """One table; `overall` is a window over everything, `windows` are the latest."""
    counts = log.counts()
    windows = log.windows(size)
    return {
        "counts": counts,
        "overall": [asdict(one) for one in log.windows(max(1, counts["num_predictions"]))],
        "windows": [asdict(one) for one in windows[-_SHOWN:]],
        "pairs": compare_pairs(log.pairs()),
        "drift": [asdict(one) for one in log.drift()],
        "subgroups": log.subgroups(),
        "alarms": [asdict(alert) for alert in find_alerts(windows)],
    }


def compare_pairs(pairs: Sequence["Pair"]) -> list[dict[str, Any]]:
    """One row for each pair of versions: agreement of all answers, and the difference in
    hierarchical F1 (shadow minus champion, paired bootstrap) of those with a label.
    """
    groups: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[pair.version, pair.other].append(pair)
    return [
        {
            "version": version,
            "other": other,
            "num_pairs": len(found),
            **{f"agreement_{level}": _agreement(found, level) for level in _LEVELS},
            **_difference([pair for pair in found if pair.gold is not None]),
        }
        for (version, other), found in groups.items()
    ]


def _agreement(pairs: Sequence["Pair"], level: str) -> float:
    """Share of the notes for which both name the same node; two unusable answers agree."""
    above = _LEVELS[level]
    named = [
        tuple(None if code is None else above(code) for code in (pair.shadow, pair.champion))
        for pair in pairs
    ]
    return fmean(one == other for one, other in named)


def _difference(pairs: Sequence["Pair"]) -> dict[str, float | int | None]:
    if not pairs:
        return {"num_labelled": 0, "difference": None, "low": None, "high": None}
    shadow = [Prediction(p.id, p.id, p.gold or "", p.shadow) for p in pairs]
    champion = [Prediction(p.id, p.id, p.gold or "", p.champion) for p in pairs]
    found = scoring.paired_bootstrap(shadow, champion)
    kept = {name: found[name] for name in ("difference", "low", "high")}
    return {"num_labelled": len(pairs), **kept}


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


def describe_alert(alert: Alert) -> str:
    """An alert in one line."""
    return (
        f"{alert.state}: {alert.rule} ({alert.severity}) of {alert.version} ({alert.role}), "
        f"{_number(alert.value)} since {_time(alert.since)} UTC; see {alert.runbook}"
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
