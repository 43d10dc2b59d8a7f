"""Objectives of a trial, and the trials that no other beats."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd.config import parse_experiment
from deepicd.errors import ConfigError
from deepicd.records import Trial
from deepicd.sweeps.callbacks.progress import trial_table
from deepicd.sweeps.results.pareto import objectives_of, pareto_front
from deepicd.sweeps.results.status import status_row

NAMES = ("hierarchical_f1", "gpu_hours")
POINTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=12)


def trial(name, *values):
    objectives = dict(zip(NAMES, values, strict=False))
    return Trial(name, {}, "finished", 10, {}, objectives=objectives)


def front_of(points):
    trials = [trial(str(index), *point) for index, point in enumerate(points)]
    return {points[int(name)] for name in pareto_front(trials, NAMES)}


def test_a_worked_front():
    trials = [
        trial("best", 0.9, 3.0),
        trial("cheap", 0.5, 1.0),
        trial("beaten", 0.5, 2.0),
        trial("between", 0.7, 2.0),
        trial("never validated"),
    ]
    assert pareto_front(trials, NAMES) == {"best", "between", "cheap"}
    assert pareto_front(trials, NAMES[:1]) == {"best"}
    assert pareto_front([], NAMES) == set()


@given(POINTS)
def test_the_front_beats_all_others_and_none_of_its_own(points):
    front = front_of(points)
    for score, cost in points:
        is_beaten = any(s >= score and c <= cost and (s, c) != (score, cost) for s, c in front)
        assert is_beaten != ((score, cost) in front)


@given(POINTS, st.randoms())
def test_the_order_of_trials_is_nothing_to_the_front(points, chance):
    shuffled = list(points)
    chance.shuffle(shuffled)
    assert front_of(shuffled) == front_of(points)


@given(POINTS)
def test_what_is_off_the_front_can_be_left_out(points):
    assert front_of(sorted(front_of(points))) == front_of(points)


def test_objectives_stand_in_the_report_of_the_validation():
    row = {
        "validation/hierarchical_f1": 0.5,
        "validation/share_unparsable": 0.1,
        "response_length/mean": 30.0,
        "cost/gpu_hours": 0.2,
    }
    names = ("hierarchical_f1", "share_unparsable", "response_length", "gpu_hours")
    assert list(objectives_of(row, names).values()) == [0.5, 0.1, 30.0, 0.2]
    assert objectives_of({"step": 1}, names) == {}


def test_status_says_who_is_on_the_front():
    best, beaten = trial("best", 0.9, 1.0), trial("beaten", 0.5, 2.0)
    front = pareto_front([best, beaten], NAMES)
    rows = [status_row(one, front) for one in (best, beaten)]
    assert [row["is_on_front"] for row in rows] == [True, False]
    assert rows[0]["objectives"] == {"hierarchical_f1": 0.9, "gpu_hours": 1.0}
    names = list(trial_table([best, beaten], "hierarchical_f1", front).columns[0].cells)
    assert names == ["best *", "beaten"]


@pytest.mark.parametrize(
    ("objectives", "words"),
    [
        (["gpu_hours"], "lacks the metric hierarchical_f1, by which the winner is chosen"),
        (["hierarchical_f1", "hierarchical_f1"], "holds one twice"),
        (["hierarchical_f1", "speed"], "objectives"),
    ],
)
def test_objectives_that_cannot_be_pursued_are_refused(objectives, words):
    with pytest.raises(ConfigError, match=words):
        parse_experiment({"sweep": {"objectives": objectives}}, "here")


def test_without_objectives_the_metric_is_pursued():
    sweep = parse_experiment({"sweep": {"metric": "macro_f1_full"}}, "here").sweep
    assert sweep.pursued == ("macro_f1_full",)
