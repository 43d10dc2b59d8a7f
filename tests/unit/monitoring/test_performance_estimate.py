"""The estimate without labels: its band by simulation, its alerts, a log of another layout."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepicd.errors import MonitoringError
from deepicd.monitoring.alerts import RULES, find_alerts
from deepicd.monitoring.performance_estimate import estimate
from deepicd.monitoring.prediction_log import FILE, PredictionLog
from deepicd.records import ServedPrediction, Window


def test_an_estimate_by_hand() -> None:
    found = estimate(1.5, 1.25, num=2, num_calibration=10**9)  # confidences 1.0 and 0.5
    assert found is not None and found.value == 0.75
    assert found.high == 1.0 and found.low == pytest.approx(0.75 - 1.96 * np.sqrt(0.25 / 4))
    assert found.agrees(0.5) and not found.agrees(0.25)
    assert estimate(0.0, 0.0, num=0, num_calibration=5) is None


def test_the_band_holds_as_often_as_it_says_while_the_calibration_does() -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        truth = rng.choice([0.3, 0.6, 0.9], size=200)
        off = rng.normal(0, np.sqrt(0.6 * 0.4 / 100))  # a calibration fitted on 100 answers
        told = np.clip(truth + off, 0, 1)
        found = estimate(float(told.sum()), float((told**2).sum()), num=200, num_calibration=100)
        assert found is not None
        held.append(found.agrees(float(np.mean(rng.random(200) < truth))))
    assert 0.93 <= np.mean(held) <= 0.97


def keep(log: PredictionLog, name: str, code: str | None, sure: float | None) -> None:
    log.record(
        ServedPrediction(
            name, "v1", 1.0, code, None if code else "no_diagnosis", chapter_confidence=sure,
            num_calibration=None if sure is None else 200,
        )
    )  # fmt: skip


def test_a_window_estimates_without_labels_and_says_whether_they_bear_it_out(
    tmp_path: Path,
) -> None:
    log = PredictionLog(tmp_path, window=100)
    for i in range(40):
        keep(log, f"n{i}", "I2510" if i % 4 else None, 0.8 if i % 4 else 0.0)
    (window,) = log.windows()
    assert window.estimated_accuracy == pytest.approx(0.6)
    assert window.labelled_accuracy is None and window.is_estimate_sound is None
    for i in range(40):
        log.label(f"n{i}", "J189")
    (window,) = log.windows()
    assert window.labelled_accuracy == 0.0 and window.is_estimate_sound is False
    for i in range(32):
        log.label(f"n{i}", "I259")
    (window,) = log.windows()
    assert window.labelled_accuracy == pytest.approx(24 / 40) and window.is_estimate_sound


def test_answers_without_a_calibration_promise_nothing(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    keep(log, "a", "I2510", None)
    log.label("a", "I2510")
    (window,) = log.windows()
    assert window.estimated_accuracy is None and window.is_estimate_sound is None


@pytest.mark.parametrize("layout", [0, 1, 3])
def test_a_log_of_another_layout_is_refused_and_left_alone(tmp_path: Path, layout: int) -> None:
    log = PredictionLog(tmp_path)
    keep(log, "a", "I2510", None)
    log.close()
    with sqlite3.connect(tmp_path / FILE) as file:
        file.execute(f"PRAGMA user_version = {layout}")
    file.close()
    words = f"has layout {layout} and this version reads layout 2. Move the file aside"
    with pytest.raises(MonitoringError, match=words):
        log.counts()
    with sqlite3.connect(tmp_path / FILE) as file:
        assert file.execute("SELECT count(*) FROM predictions").fetchone() == (1,)
        assert file.execute("PRAGMA user_version").fetchone() == (layout,)
    file.close()


def base(end: float, promised: float, *, is_sound: bool | None = None) -> Window:
    return Window(
        version="v1", start=end - 1, end=end, num_predictions=100, num_labelled=40,
        hierarchical_f1=0.5, low=0.4, high=0.6, macro_f1_chapter=0.5, macro_f1_category=0.5,
        macro_f1_full=0.5, estimated_accuracy=promised, estimated_low=promised - 0.1,
        estimated_high=promised + 0.1, labelled_accuracy=0.5, is_estimate_sound=is_sound,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "fires"),
    [
        ([base(1, 0.8), base(2, 0.5), base(3, 0.5)], ["estimated-accuracy-low"]),
        ([base(1, 0.8), base(2, 0.61), base(3, 0.61)], []),  # the bands touch
        ([base(1, 0.8, is_sound=False), base(2, 0.8, is_sound=False)], ["calibration"]),
        ([base(1, 0.8, is_sound=True), base(2, 0.8)], []),
    ],
)
def test_confidence_has_its_alerts(rows: list[Window], fires: list[str]) -> None:
    assert [a.rule for a in find_alerts(rows) if a.state == "firing"] == fires
    unlabelled = [replace(row, num_labelled=0) for row in rows]
    known = [rule for rule in RULES if rule.name == "calibration"]
    assert find_alerts(unlabelled, known) == []
