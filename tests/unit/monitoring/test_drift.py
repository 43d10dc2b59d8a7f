"""Drift by hand-worked counts, and how often it alerts where nothing has changed."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd.monitoring.drift import Seen, chi_square, find_drift, holm, stability_index
from deepicd.monitoring.monitor import Monitor
from deepicd.monitoring.prediction_log import PredictionLog
from deepicd.records import ServedPrediction

CODES = ["I2510", "J189", "N390", "E119", "K219"]


def draw(rng: random.Random, *, num: int = 400, weights: tuple[int, ...] = (5, 4, 3, 2, 1)):
    found = []
    for code in rng.choices(CODES, weights, k=num):
        is_usable = rng.random() > 0.1
        reason = None if is_usable else "no_diagnosis"
        found.append(Seen(code if is_usable else None, reason, rng.randint(500, 1500)))
    return found


def drifting(first: list[Seen], latest: list[Seen]) -> set[str]:
    rows = find_drift(first, latest, version="v1", role="champion")
    assert {row.feature for row in rows} == {
        "chapter",
        "prompt_length",
        "unparsable",
        "nonexistent",
    }
    return {row.feature for row in rows if row.is_drifting}


def test_the_index_of_two_counts_by_hand() -> None:
    # shares with half a count added: 50.5/101 twice, then 80.5/101 and 20.5/101
    then, now = np.array([50.0, 50.0]), np.array([80.0, 20.0])
    by_hand = (80.5 - 50.5) / 101 * np.log(80.5 / 50.5) + (20.5 - 50.5) / 101 * np.log(20.5 / 50.5)
    assert stability_index(then, now) == pytest.approx(by_hand)
    assert stability_index(then, then * 3) == pytest.approx(0, abs=1e-12)
    assert chi_square(then, now) == pytest.approx(8.6e-6, rel=0.05)  # chi-square 19.78, 1 degree


def test_holm_by_hand() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06}
    )


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), min_size=1, max_size=6))
def test_a_corrected_value_is_never_smaller_and_keeps_the_order(raw: dict[str, float]) -> None:
    found = holm(raw)
    assert all(raw[name] <= found[name] <= 1 for name in raw)
    ordered = [found[name] for name in sorted(raw, key=lambda name: raw[name])]
    assert ordered == sorted(ordered)


def test_the_same_distribution_never_alerts_in_two_hundred_draws() -> None:
    rng = random.Random(1)
    assert sum(bool(drifting(draw(rng), draw(rng))) for _ in range(200)) == 0


def test_what_has_shifted_alerts_and_the_rest_does_not() -> None:
    rng = random.Random(2)
    first = draw(rng)
    assert drifting(first, draw(rng, weights=(1, 1, 1, 8, 8))) == {"chapter"}
    longer = [Seen(s.code, s.reason, s.num_prompt_tokens + 600) for s in draw(rng)]
    assert drifting(first, longer) == {"prompt_length"}
    broken = [Seen(None, "unknown_code", s.num_prompt_tokens) if i % 2 else s
              for i, s in enumerate(draw(rng))]  # fmt: skip
    assert {"unparsable", "nonexistent"} <= drifting(first, broken)


def test_few_answers_and_a_single_class_say_nothing() -> None:
    same = [Seen("I2510", None, None)] * 60
    assert find_drift(same[:49], same, version="v1", role="champion") == []
    assert drifting(same, same) == set()


def test_the_log_compares_its_first_window_with_its_latest(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, window=60)
    for i in range(130):
        code = "I2510" if i < 70 else "J189"
        log.record(ServedPrediction(id=f"p{i}", version="v1", time=float(i), code=code))
        if i == 100:
            assert Monitor(log).report().as_json()["drift"] == []  # two windows do not fit yet
    rows = {row["feature"]: row for row in Monitor(log).report().as_json()["drift"]}
    assert rows["chapter"]["is_drifting"] and not rows["unparsable"]["is_drifting"]
    json.dumps(Monitor(log).report().as_json(), allow_nan=False)
