"""How long a run says that its rest will take, by recorded seconds and by its own."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd.config import load_experiment, parse_experiment
from deepicd.paths import RunPaths
from deepicd.pipeline.eta import RECORDED_S, describe_left, seconds_left
from deepicd.pipeline.run import Run
from deepicd.pipeline.stage import STAGES

DEMO = {"num_trials": 4, "total_steps": 15}
ORDER = tuple(STAGES)
WHOLE_S = sum(RECORDED_S.values())
SOON = {name: RECORDED_S[name] for name in ("notes", "model")}
SFT_S = RECORDED_S["sft"]
SOON_S = sum(SOON.values())


def test_the_recorded_seconds_are_those_of_the_docs(root):
    text = (root / "docs" / "timings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| (\d+) \|$", text, re.MULTILINE)
    assert {stage: float(seconds) for stage, seconds in rows} == RECORDED_S
    assert tuple(RECORDED_S) == tuple(STAGES)


def test_the_recorded_sweep_is_that_of_the_demo(root):
    demo = load_experiment(root / "experiments" / "demo.toml")
    assert {
        "num_trials": demo.sweep.total_trials,
        "total_steps": demo.training.total_steps,
    } == DEMO


@pytest.mark.parametrize(
    ("finished", "left_s"),
    [
        ({}, WHOLE_S),  # nothing is known of this machine
        (SOON, WHOLE_S - SOON_S),  # as recorded
        (  # twice as slow, seen for some seconds
            {name: 2 * seconds for name, seconds in SOON.items()},
            (2 * SOON_S + 30) / (SOON_S + 30) * (WHOLE_S - SOON_S),
        ),
        (  # and for minutes
            {**SOON, "sft": 2 * SFT_S},
            (SOON_S + 2 * SFT_S + 30) / (SOON_S + SFT_S + 30) * (WHOLE_S - SOON_S - SFT_S),
        ),
        (  # a fast machine
            {**SOON, "sft": SFT_S / 4},
            (SOON_S + SFT_S / 4 + 30) / (SOON_S + SFT_S + 30) * (WHOLE_S - SOON_S - SFT_S),
        ),
        (dict.fromkeys(STAGES, 60.0), 0.0),
    ],
)
def test_what_is_left_follows_the_stages_that_are_over(finished, left_s):
    assert left_after(finished) == pytest.approx(left_s)


def left_after(finished, **size):
    left = [stage for stage in STAGES if stage not in finished]
    return seconds_left(finished, left=left, **(size or DEMO))


def test_a_stage_that_was_taken_over_says_nothing_of_the_machine():
    left = [stage for stage in STAGES if stage not in {"notes", "traces", "model", "sft"}]
    expected = sum(RECORDED_S[stage] for stage in left)
    assert seconds_left({}, left=left, **DEMO) == pytest.approx(expected)


def test_twice_the_trials_take_the_start_once_and_the_steps_twice():
    longer = left_after({}, num_trials=8, total_steps=15) - left_after({})
    assert longer == pytest.approx(RECORDED_S["sweep"] - 90)


@given(st.floats(0.2, 5.0), st.integers(0, len(STAGES)))
def test_a_machine_that_is_slower_throughout_is_never_said_to_be_faster(slowness, num_finished):
    finished = {stage: slowness * RECORDED_S[stage] for stage in ORDER[:num_finished]}
    truth = slowness * sum(RECORDED_S[stage] for stage in ORDER[num_finished:])
    recorded = sum(RECORDED_S[stage] for stage in ORDER[num_finished:])
    left = left_after(finished)
    assert min(truth, recorded) - 1e-6 <= left <= max(truth, recorded) + 1e-6


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "less than a minute left"),
        (29.0, "less than a minute left"),
        (31.0, "about 1 minute left"),
        (900.0, "about 15 minutes left"),
        (1790.0, "about 30 minutes left"),
    ],
)
def test_the_rest_is_said_in_whole_minutes(seconds, words):
    assert describe_left(seconds) == words


def test_a_run_that_estimates_says_the_rest_from_its_first_stage_on(tmp_path, log_lines):
    experiment = parse_experiment(
        {"sweep": {"num_trials": 4}, "training": {"total_steps": 15}}, "x"
    )
    run = Run(experiment, RunPaths(tmp_path / "run"), is_rest_estimated=True)
    run.do("notes", "embedded corpus", lambda: None)
    assert log_lines[0] == f"[1/10] notes: embedded corpus ({describe_left(WHOLE_S)})"
    assert log_lines[1] == "       notes took 0 s"
