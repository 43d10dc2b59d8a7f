"""Seconds and GPU-hours by phase."""

import pytest

from deepicd.report.costs import draw_costs, phase_table, seconds_by_phase


def test_seconds_go_to_phases_and_a_repeated_step_is_paid_twice():
    first = [
        {"time_total_s": 5.0},
        {"time_total_s": 60.0, "start/seconds": 20.0, "timing_s/gen": 10.0, "timing_s/ref": 2.0},
        {
            "time_total_s": 80.0,
            "start/seconds": 20.0,
            "timing_s/gen": 10.0,
            "timing_s/testing": 5,
        },
    ]
    again = [{"time_total_s": 30.0, "start/seconds": 8.0, "timing_s/gen": 10.0}]
    found = seconds_by_phase([first, again])
    assert found["start"] == 28 and found["rollout"] == 30 and found["update"] == 2
    assert found["validation"] == 5 and found["other"] == 110 - 65
    table = phase_table({"a": found}, num_gpus=2)
    phases = [row["phase"] for row in table.rows]
    assert phases == ["start", "rollout", "update", "validation", "other"]
    assert sum(row["GPU-hours"] for row in table.rows) == pytest.approx(110 * 2 / 3600, abs=1e-3)


def test_only_phases_that_took_time_have_a_row():
    seconds = seconds_by_phase([[{"time_total_s": 10.0, "timing_s/gen": 10.0}]])
    assert [row["phase"] for row in phase_table({"a": seconds}, num_gpus=1).rows] == ["rollout"]
    assert phase_table({}, num_gpus=1).rows == []


def test_a_long_sweep_has_a_bar_for_the_first_trials_only():
    seconds = {f"t{number}": seconds_by_phase([[{"time_total_s": 5.0}]]) for number in range(45)}
    figure = draw_costs(seconds)
    assert {len(bar.y) for bar in figure.plot.data} == {40}
    assert figure.caption.endswith("The other 5 trials are in the table only.")
