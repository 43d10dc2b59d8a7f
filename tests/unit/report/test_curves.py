"""Learning curves, and how far each trial came."""

from deepicd.records import Trial
from deepicd.report.curves import draw_curves
from deepicd.report.early_stopping import stopping_table
from deepicd.report.html import PALETTE


def test_each_stopping_step_counts_who_came_and_who_was_stopped():
    ends = {"a": ("stopped", 2), "b": ("stopped", 5), "c": ("finished", 10), "d": ("failed", 3)}
    trials = [Trial(name, {}, state, steps, {}) for name, (state, steps) in ends.items()]
    rows = [list(row.values()) for row in stopping_table(trials, [2, 4, 8]).rows]
    assert rows == [[2, 4, 1, "a"], [4, 2, 1, "b"], [8, 1, 0, ""]]


def test_many_trials_are_one_grey_line_behind_the_best():
    histories = {f"t{i}": [{"step": 1, "x": i}, {"step": 2, "x": i}] for i in range(30)}
    plot = draw_curves(histories, "x", title="x", caption="x").plot
    assert len(plot.data) == 1 + len(PALETTE) and plot.data[0].name == "23 other trials"
