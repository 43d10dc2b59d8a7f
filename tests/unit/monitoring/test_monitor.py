"""The report of a log: pairs by hand, its JSON keys, and the lines that people read."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from deepicd.monitoring.alerts import Alert
from deepicd.monitoring.monitor import (
    COLUMNS,
    Monitor,
    compare_pairs,
    describe_alert,
    describe_counts,
    table_rows,
)
from deepicd.monitoring.prediction_log import Pair, PredictionLog
from deepicd.records import ServedPrediction


def pair(name: str, shadow: str | None, champion: str | None, gold: str | None = None) -> Pair:
    return Pair(name, "v2", "v1", shadow, champion, gold)


def test_agreement_is_counted_at_each_level_and_two_unusable_answers_agree():
    (found,) = compare_pairs(
        [
            pair("a", "I2510", "I2510"),  # the same code
            pair("b", "I2510", "I2511"),  # the same category
            pair("c", "I2510", "I10"),  # the same chapter
            pair("d", "I2510", "J189"),
            pair("e", None, None),
            pair("f", "I2510", None),
        ]
    )
    assert (found.version, found.other, found.num_pairs) == ("v2", "v1", 6)
    assert found.agreement_code == pytest.approx(2 / 6)
    assert found.agreement_category == pytest.approx(3 / 6)
    assert found.agreement_chapter == pytest.approx(4 / 6)
    assert (found.num_labelled, found.difference, found.low, found.high) == (0, None, None, None)


def test_the_difference_is_that_of_labelled_notes_only():
    rows = [pair(f"n{i}", "I2510", "J189", "I2510") for i in range(10)]
    (found,) = compare_pairs([*rows, pair("x", "J189", "I2510")])
    assert (found.num_labelled, found.difference) == (10, 1.0)
    assert 0 < found.low < found.high == 1.0  # ten labels are few: the interval is widened


def test_each_pair_of_versions_is_compared_on_its_own():
    rows = [pair("a", "I10", "I10"), Pair("b", "v3", "v1", "I10", None, None)]
    assert [(one.version, one.num_pairs, one.agreement_code) for one in compare_pairs(rows)] == [
        ("v2", 1, 1.0), ("v3", 1, 0.0),
    ]  # fmt: skip
    assert compare_pairs([]) == []


@pytest.fixture
def log(tmp_path: Path) -> PredictionLog:
    """Four answers of a champion and its shadow; the first two notes are labelled."""
    log = PredictionLog(tmp_path, window=2)
    for number in range(4):
        common = {"id": f"p{number}", "time": float(number)}
        log.record(ServedPrediction(version="v1", code="I2510", **common))
        log.record(ServedPrediction(version="v2", code="I10", role="shadow", **common))
    for number in range(2):
        log.label(f"p{number}", "I2510")
    return log


def test_the_keys_of_the_report_are_those_that_clients_know(log):
    report = Monitor(log).report().as_json()
    assert [*report] == ["counts", "overall", "windows", "pairs", "drift", "subgroups", "alarms"]
    assert [*report["pairs"][0]] == [
        "version", "other", "num_pairs", "agreement_code", "agreement_category",
        "agreement_chapter", "num_labelled", "difference", "low", "high", "has_few_patients",
    ]  # fmt: skip
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_the_report_has_windows_of_the_logs_size_and_one_over_everything(log):
    report = Monitor(log).report()
    sizes = [(window.version, window.num_predictions) for window in report.windows]
    assert sizes == [("v1", 2), ("v2", 2), ("v1", 2), ("v2", 2)]
    assert [window.num_predictions for window in report.overall] == [4, 4]
    assert [window.num_predictions for window in Monitor(log).report(size=4).windows] == [4, 4]
    assert report.pairs[0].agreement_code == 0.0 and report.pairs[0].agreement_chapter == 1.0


def test_the_status_has_the_counts_at_the_top(log):
    status = Monitor(log).status()
    counts = {"num_predictions": 8, "num_labelled": 4, "num_unparsable": 0, "num_waiting": 0}
    assert status["counts"] == counts and counts.items() <= status.items()
    assert describe_counts(counts).startswith("8 predictions, 4 labelled, 0 without a usable code")


def test_the_table_names_a_role_that_is_not_champion_and_leaves_gaps_open(log):
    rows = table_rows(Monitor(log).report().windows)
    assert all(len(row) == len(COLUMNS) for row in rows)
    assert [row[0] for row in rows] == ["v1", "v2 (shadow)", "v1", "v2 (shadow)"]
    assert rows[0][1] == "1970-01-01 00:00:00" and rows[0][5] == "1.000"
    assert rows[2][4:] == ("0", "–", "–")


def test_an_alert_is_one_line_with_its_runbook():
    alert = Alert("low", "page", "v1", "champion", 0.25, "firing", 0.0, "docs/runbooks/low.md")
    assert describe_alert(alert) == (
        "firing: low (page) of v1 (champion), 0.250 since 1970-01-01 00:00:00 UTC; see "
        "docs/runbooks/low.md"
    )
    unknown = Alert(**{**asdict(alert), "value": None})
    assert ", – since" in describe_alert(unknown)
