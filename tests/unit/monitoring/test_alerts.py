"""Alerts by hand-worked sequences of windows, pairs of versions, roles, and labels by admission."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from deepicd import cli
from deepicd.errors import DataError
from deepicd.monitoring.alerts import RULES, Rule, find_alerts
from deepicd.monitoring.monitor import Monitor
from deepicd.monitoring.prediction_log import PredictionLog
from deepicd.records import ServedPrediction, Window

ROLLBACK = next(rule for rule in RULES if rule.severity == "rollback")


def window(
    end: float, f1: float, *, version: str = "v1", role: str = "champion", labelled: int = 50
) -> Window:
    return Window(
        version=version, start=end - 1, end=end, num_predictions=100, num_labelled=labelled,
        hierarchical_f1=f1, low=f1 - 0.05, high=f1 + 0.05, macro_f1_chapter=f1,
        macro_f1_category=f1, macro_f1_full=f1, role=role,
    )  # fmt: skip


def states(*values: float, rule: Rule = ROLLBACK, labelled: int = 50) -> list[str]:
    """States of the one alert after each window; `-` where there is none."""
    rows = [window(float(i), f1, labelled=labelled) for i, f1 in enumerate(values)]
    found = []
    for end in range(1, len(rows) + 1):
        alerts = find_alerts(rows[:end], [rule])
        found.append(alerts[0].state if alerts else "-")
    return found


def test_two_bad_windows_fire_and_two_good_ones_clear() -> None:
    # the reference is the first window, 0.60 [0.55, 0.65]; 0.45 reaches up to 0.50 only
    assert states(0.6, 0.45, 0.45, 0.6, 0.6, 0.6) == [
        "-", "pending", "firing", "firing", "cleared", "cleared",
    ]  # fmt: skip


def test_a_single_odd_window_does_nothing_either_way() -> None:
    assert states(0.6, 0.45, 0.6, 0.45, 0.6) == ["-", "pending", "-", "pending", "-"]
    assert states(0.6, 0.4, 0.4, 0.6, 0.4, 0.4)[-1] == "firing"


def test_intervals_that_touch_are_no_reason_to_roll_back() -> None:
    assert states(0.6, 0.5, 0.5, 0.5) == ["-"] * 4  # up to 0.55, where the reference begins


def test_windows_without_enough_labels_neither_fire_nor_clear() -> None:
    assert states(0.6, 0.1, 0.1, 0.1, labelled=29) == ["-"] * 4
    rows = [window(0, 0.6), window(1, 0.4), window(2, 0.9, labelled=3), window(3, 0.4)]
    (alert,) = find_alerts(rows, [ROLLBACK])
    assert (alert.state, alert.since, alert.value) == ("firing", 3, 0.4)


def test_a_version_is_compared_with_the_champion_before_it() -> None:
    rows = [
        window(0, 0.6),
        window(2, 0.3, version="v2", role="canary"),
        window(3, 0.3, version="v2", role="canary"),
        window(4, 0.58),
    ]
    (alert,) = find_alerts(rows, [ROLLBACK])
    assert (alert.version, alert.role, alert.state) == ("v2", "canary", "firing")
    assert find_alerts(rows[1:3], [ROLLBACK]) == []  # alone it has only itself


def test_shares_need_no_labels() -> None:
    rule = next(rule for rule in RULES if rule.name == "unparsable")
    fields = vars(window(0, 0.5, labelled=0))
    rows = [
        Window(**{**fields, "end": float(i), "share_unparsable": share})
        for i, share in enumerate((0.05, 0.19, 0.21, 0.21))
    ]
    assert [alert.state for alert in find_alerts(rows, [rule])] == ["firing"]
    assert find_alerts(rows[:2], [rule]) == []


def test_the_command_lists_every_rule() -> None:
    done = CliRunner().invoke(cli.app, ["monitor", "rules", "--json"])
    assert [row["name"] for row in json.loads(done.stdout)] == [rule.name for rule in RULES]


@pytest.fixture
def log(tmp_path: Path) -> PredictionLog:
    return PredictionLog(tmp_path / "monitor", window=100)


def keep(log: PredictionLog, name: str, code: str | None, **fields: object) -> None:
    given = {"version": "v1", "time": 1.0, **fields}
    log.record(ServedPrediction(id=name, code=code, **given))  # type: ignore[arg-type]


def test_one_label_judges_champion_and_shadow_and_their_difference(log: PredictionLog) -> None:
    answers = {"a": ("I2510", "I2510"), "b": ("I259", "I2510"), "c": ("J189", None)}
    for name, (champion, shadow) in answers.items():
        keep(log, name, champion)
        keep(log, name, shadow, version="v2", role="shadow")
    assert log.label("a", "I25.10") == "stored" and log.label("b", "I25.10") == "stored"
    report = Monitor(log).report().as_json()
    f1 = {(w["version"], w["role"]): w["hierarchical_f1"] for w in report["windows"]}
    # champion: 3 of 3 nodes and 2 of 3; shadow: all right
    assert f1 == {("v1", "champion"): pytest.approx(5 / 6), ("v2", "shadow"): 1.0}
    (pair,) = report["pairs"]
    assert (pair["version"], pair["other"], pair["num_pairs"]) == ("v2", "v1", 3)
    assert pair["agreement_code"] == pytest.approx(1 / 3)
    assert pair["agreement_category"] == pair["agreement_chapter"] == pytest.approx(2 / 3)
    assert (pair["num_labelled"], pair["difference"]) == (2, pytest.approx(1 / 6))
    json.dumps(report, allow_nan=False)


def test_a_label_by_admission_holds_for_every_answer_to_it_early_or_late(
    log: PredictionLog,
) -> None:
    assert log.label("hadm-1", "I10", by="admission") == "waiting"
    keep(log, "a", "I10", admission_id="hadm-1")
    keep(log, "b", "J189", admission_id="hadm-1")
    keep(log, "c", "J189", admission_id="hadm-2")
    assert log.counts()["num_labelled"] == 2 and log.counts()["num_waiting"] == 0
    assert log.windows()[0].hierarchical_f1 == pytest.approx(0.5)
    assert log.label("hadm-1", "I10", by="admission") == "unchanged"
    assert log.label("hadm-1", "J18.9", by="admission") == "corrected"
    assert log.windows()[0].hierarchical_f1 == pytest.approx(0.5)
    assert log.label("a", "I10") == "stored"  # of the prediction itself, and later
    assert log.windows()[0].hierarchical_f1 == 1.0
    assert log.windows(as_of=0.5) == []


def test_shares_and_confidence_are_of_all_answers(log: PredictionLog) -> None:
    keep(log, "a", "I10", confidence=0.75)
    keep(log, "b", None, reason="unknown_code", confidence=None)
    keep(log, "c", None, reason="no_diagnosis")
    keep(log, "d", "I10", confidence=0.25, subgroups={"sex": "F"}, num_prompt_tokens=9)
    (found,) = log.windows()
    assert (found.share_unparsable, found.share_nonexistent) == (0.5, 0.25)
    assert found.mean_confidence == 0.5 and found.macro_f1_full is None


def test_windows_of_time_hold_what_was_answered_then_whatever_the_order(
    log: PredictionLog,
) -> None:
    for name, second, code in (("a", 5, "I10"), ("c", 25, "J189"), ("b", 9, "J189")):
        keep(log, name, code, time=float(second))
        log.label(name, "I10")
    found = log.windows(period_s=10)
    # a and b lie in the first ten seconds, though c arrived between them
    assert [(w.start, w.end, w.num_labelled, w.hierarchical_f1) for w in found] == [
        (5, 9, 2, 0.5), (25, 25, 1, 0.0),
    ]  # fmt: skip
    with pytest.raises(DataError, match="lasts more than 0 s; got -1"):
        log.windows(period_s=-1)


def test_groups_with_enough_labels_are_compared_with_the_others(log: PredictionLog) -> None:
    for i in range(100):
        sex = "F" if i < 60 else "M"
        given = {"sex": sex, "race": "X" if i < 20 else "Y"} if i < 95 else {}
        keep(log, f"p{i}", "I2510" if sex == "F" else "J189", subgroups=given, confidence=1.0)
        log.label(f"p{i}", "I25.10")
    rows = {(row["attribute"], row["group"]): row for row in Monitor(log).status()["subgroups"]}
    assert set(rows) == {("race", "Y"), ("sex", "F"), ("sex", "M")}  # 20 are too few to show
    assert (rows["sex", "F"]["num_labelled"], rows["sex", "M"]["num_labelled"]) == (60, 35)
    assert (rows["sex", "F"]["gap"], rows["sex", "M"]["gap"]) == (1.0, -1.0)
    assert (rows["sex", "F"]["gap_low"], rows["sex", "F"]["gap_high"]) == (1.0, 1.0)
    assert rows["race", "Y"]["hierarchical_f1"] == pytest.approx(40 / 75)
    assert rows["race", "Y"]["gap"] == pytest.approx(40 / 75 - 1)
    assert log.windows()[0].calibration_error == pytest.approx(0.4)  # sure, and wrong 40 times


def test_the_log_is_written_as_parquet(log: PredictionLog, tmp_path: Path) -> None:
    keep(log, "a", "I10", confidence=0.5, subgroups={"sex": "F"}, admission_id="hadm-1")
    keep(log, "b", None, reason="no_diagnosis")
    log.label("hadm-1", "I10", by="admission", time=7.0)
    command = ["monitor", "export", "--to", str(tmp_path / "out"), "--log", str(log.path), "--json"]
    done = CliRunner().invoke(cli.app, command)
    assert json.loads(done.stdout) == {"predictions": 2, "labels": 1}
    predictions, labels = (
        pq.read_table(tmp_path / "out" / f"{name}.parquet").to_pylist()
        for name in ("predictions", "labels")
    )
    assert [(row["id"], row["code"], row["confidence"]) for row in predictions] == [
        ("a", "I10", 0.5), ("b", None, None),
    ]  # fmt: skip
    assert labels == [
        {"number": 1, "id": "hadm-1", "code": "I10", "time": 7.0, "kind": "admission"}
    ]
