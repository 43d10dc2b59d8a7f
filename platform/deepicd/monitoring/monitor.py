"""The prediction log → all that is known about the endpoint's quality, as one report.

In: a `PredictionLog`. Out: `Report`, which `/v1/monitor`, the metrics and `deepicd monitor status`
show. Decided here: champion, canary and shadow stand side by side; a shadow is also compared with
the champion note by note, by agreement without labels and by hierarchical F1 where there are
labels; alerts follow from the windows alone, so the same log gives the same report. The report
holds dataclasses; `Report.as_json` is called where it leaves the process.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

from deepicd import codes, scoring
from deepicd.monitoring.alerts import Alert, find_alerts
from deepicd.monitoring.drift import Drift
from deepicd.monitoring.prediction_log import Pair, PredictionLog
from deepicd.records import Prediction, Window

COLUMNS = ("version", "from (UTC)", "to (UTC)", "predictions", "labelled", "hF1", "interval")

_NUM_SHOWN = 200
"""Latest windows in the report; alerts are judged by all."""


@dataclass(frozen=True)
class PairComparison:
    """A shadow against the champion, on the notes that both answered."""

    version: str
    """The shadow."""
    other: str
    """The champion."""
    num_pairs: int
    agreement_code: float
    """Share of notes, in [0, 1], for which both name the same code; two unusable answers agree."""
    agreement_category: float
    agreement_chapter: float
    num_labelled: int
    difference: float | None
    """Hierarchical F1, shadow minus champion, of the labelled notes; None without labels."""
    low: float | None
    high: float | None
    """Its interval, by a paired bootstrap."""
    has_few_patients: bool = False
    """Whether that is widened because few notes are labelled; each counts as one patient."""


@dataclass(frozen=True)
class Report:
    """Everything that the log tells at one moment."""

    counts: Mapping[str, int]
    """As `PredictionLog.counts`."""
    overall: Sequence[Window]
    """One window over everything, for each version and role."""
    windows: Sequence[Window]
    """The latest ones, oldest first."""
    pairs: Sequence[PairComparison]
    drift: Sequence[Drift]
    subgroups: Sequence[Mapping[str, Any]]
    """As `PredictionLog.subgroups`."""
    alerts: Sequence[Alert]

    def as_json(self) -> dict[str, Any]:
        """The report as `/v1/monitor` shows it. Its keys are a contract with clients."""
        return {
            "counts": dict(self.counts),
            "overall": [asdict(window) for window in self.overall],
            "windows": [asdict(window) for window in self.windows],
            "pairs": [asdict(pair) for pair in self.pairs],
            "drift": [asdict(drift) for drift in self.drift],
            "subgroups": [dict(group) for group in self.subgroups],
            # The name that clients know.
            "alarms": [asdict(alert) for alert in self.alerts],
        }


class Monitor:
    """Reads a prediction log and judges what it holds."""

    def __init__(self, log: PredictionLog) -> None:
        self._log = log

    def report(self, *, size: int | None = None) -> Report:
        """Everything that is known now, with windows of `size` predictions (the log's own if None).

        Raises:
            MonitoringError: the log cannot be read.
        """
        counts = self._log.counts()
        windows = self._log.windows(size)
        return Report(
            counts=counts,
            # A window holds at least one prediction, in an empty log too.
            overall=self._log.windows(max(1, counts["num_predictions"])),
            windows=windows[-_NUM_SHOWN:],
            pairs=compare_pairs(self._log.pairs()),
            drift=self._log.drift(),
            subgroups=self._log.subgroups(),
            alerts=find_alerts(windows),
        )

    def status(self, *, size: int | None = None) -> dict[str, Any]:
        """The report, JSON-ready, with its counts at the top as well."""
        report = self.report(size=size).as_json()
        return {**report["counts"], **report}


def compare_pairs(pairs: Sequence[Pair]) -> list[PairComparison]:
    """One comparison for each pair of versions: agreement of all answers, and the difference in
    hierarchical F1 of those with a label.
    """
    groups: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[pair.version, pair.other].append(pair)
    return [_compare(group) for group in groups.values()]


def _compare(pairs: Sequence[Pair]) -> PairComparison:
    labelled = [pair for pair in pairs if pair.gold is not None]
    difference = _difference(labelled) if labelled else {}
    return PairComparison(
        version=pairs[0].version,
        other=pairs[0].other,
        num_pairs=len(pairs),
        agreement_code=_agreement(pairs, str),
        agreement_category=_agreement(pairs, codes.category),
        agreement_chapter=_agreement(pairs, codes.chapter),
        num_labelled=len(labelled),
        difference=difference.get("difference"),
        low=difference.get("low"),
        high=difference.get("high"),
        has_few_patients=bool(difference.get("has_few_patients")),
    )


def _agreement(pairs: Sequence[Pair], node_of: Callable[[str], str]) -> float:
    named = [
        tuple(None if code is None else node_of(code) for code in (pair.shadow, pair.champion))
        for pair in pairs
    ]
    return fmean(shadow == champion for shadow, champion in named)


def _difference(labelled: Sequence[Pair]) -> Mapping[str, float]:
    # The log does not know patients, so each note stands for its own in the paired bootstrap.
    shadow = [Prediction(p.id, p.id, p.gold or "", p.shadow) for p in labelled]
    champion = [Prediction(p.id, p.id, p.gold or "", p.champion) for p in labelled]
    return scoring.paired_bootstrap(shadow, champion)


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
            _interval(window) if window.num_labelled else "–",
        )
        for window in windows
    ]


def _interval(window: Window) -> str:
    few = scoring.mark_few({"has_few_patients": window.has_few_patients})
    return f"{_number(window.low)} to {_number(window.high)}{few}"


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
