"""Caps that bind: the report at which a trial ends, what counts, and what a resume remembers."""

import json
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd.config import parse_experiment
from deepicd.errors import CapacityError
from deepicd.paths import RunPaths
from deepicd.sweeps.results.spent import gpus_of, read_elsewhere, read_spent
from deepicd.sweeps.results.trials import ENDED_BY, reason_of
from deepicd.sweeps.search.caps import EndAtCap, read_caps, write_caps

SEARCH = {"training.learning_rate": {"type": "loguniform", "low": 1e-5, "high": 1e-3}}


def an_experiment(**sweep):
    training = {"total_steps": 10, "validate_every": 5, "num_gpus": 2}
    return parse_experiment({"training": training, "sweep": {"search": SEARCH, **sweep}}, "here")


def stopper(folder, *, elsewhere=0.0, **sweep):
    experiment = an_experiment(**sweep)
    write_caps(folder, experiment, elsewhere=elsewhere)
    return EndAtCap(experiment, storage=folder)


def report(step, *, hours):
    return {"step": step, "time_total_s": hours * 3600}


def on_disk(folder, trial, row, name="result.json"):
    place = folder / "tune" / trial
    place.mkdir(parents=True, exist_ok=True)
    (place / "params.json").write_text("{}")
    (place / name).write_text(json.dumps(row) + "\n")


def test_one_trial_ends_at_its_cap_and_says_why(tmp_path, log_lines):
    ends = stopper(tmp_path, max_trial_gpu_hours=2.0)
    assert not ends("a", report(1, hours=0.5))
    last = report(2, hours=1.0)  # two GPUs
    assert ends("a", last) and "2 GPU-hours for a trial" in last[ENDED_BY]
    assert reason_of([report(1, hours=0.5), last]) == last[ENDED_BY]
    assert not ends("b", report(1, hours=0.9)), "the others go on"
    assert log_lines == [f"trial a ends after step 2: {last[ENDED_BY]}"]


def test_a_trial_that_is_through_was_not_cut(tmp_path):
    ends = stopper(tmp_path, max_trial_gpu_hours=2.0)
    last = report(10, hours=9.0)
    assert not ends("a", last) and ENDED_BY not in last


def test_running_trials_are_cut_when_all_together_reach_the_cap(tmp_path):
    ends = stopper(tmp_path, max_gpu_hours=5.0, elsewhere=1.0)
    assert not ends("a", report(3, hours=1.0)) and not ends("b", report(3, hours=0.9))
    last = report(4, hours=1.0)
    assert ends("b", last) and "5 GPU-hours for the run, 1.00 of them for SFT" in last[ENDED_BY]
    assert ends("a", report(4, hours=1.1)), "each at its own next report"
    assert not ends.stop_all()


def test_a_sweep_that_goes_on_remembers_what_was_spent_and_may_have_another_cap(tmp_path):
    ends = stopper(tmp_path, max_gpu_hours=4.0)
    assert not ends("a", report(2, hours=1.0))
    on_disk(tmp_path, "a", report(2, hours=1.0), name="result-000.json")
    again = pickle.loads(pickle.dumps(ends))
    assert not again("b", report(1, hours=0.9))
    assert again("b", report(2, hours=1.0))
    write_caps(tmp_path, an_experiment(max_gpu_hours=8.0), elsewhere=0.0)
    raised = pickle.loads(pickle.dumps(ends))
    assert not raised("b", report(2, hours=1.0)) and raised("b", report(3, hours=3.0))


def test_a_cap_that_other_stages_have_used_up_is_refused_before_any_trial(tmp_path):
    with pytest.raises(CapacityError, match=r"2\.00 GPU-hours .* SFT and evaluation take 2\.50"):
        write_caps(tmp_path, an_experiment(max_gpu_hours=2.0), elsewhere=2.5)


def test_without_a_cap_nobody_ends(tmp_path):
    assert not stopper(tmp_path)("a", report(1, hours=1e6))
    assert read_caps(tmp_path / "elsewhere").whole == math.inf


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 0.5)), max_size=40))
def test_the_sum_exceeds_the_cap_by_one_report_of_each_trial_at_most(tmp_path_factory, steps):
    ends = stopper(tmp_path_factory.mktemp("caps"), max_gpu_hours=3.0)
    hours, over, number = dict.fromkeys("abc", 0.0), set(), dict.fromkeys("abc", 0)
    for trial, took in steps:
        if trial in over:
            continue
        hours[trial] += took
        number[trial] = min(number[trial] + 1, 9)
        if ends(trial, report(number[trial], hours=hours[trial])):
            over.add(trial)
    assert sum(hours.values()) * 2 <= 3.0 + 3 * 2 * 0.5
    assert not over or sum(hours.values()) * 2 >= 3.0


def sealed(paths, stage, *, seconds, taken_from=""):
    file = paths.seal(stage)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"seconds": seconds, "taken_from": taken_from}))


def test_a_stage_takes_its_seconds_times_the_gpus_that_it_holds(tmp_path):
    paths, experiment = RunPaths(tmp_path), an_experiment()
    assert {name: gpus_of(name, experiment) for name in ("notes", "sft", "evaluation")} == {
        "notes": 0,
        "sft": 2,
        "evaluation": 1,
    }
    sealed(paths, "notes", seconds=3600)
    sealed(paths, "sft", seconds=1800)
    sealed(paths, "baselines", seconds=900)
    assert read_spent(paths, experiment) == {"sft": 1.0, "baselines": 0.25}
    # The winner is asked what the SFT start was asked.
    assert read_elsewhere(paths, experiment)["evaluation"] == 0.25
    sealed(paths, "evaluation", seconds=1000)
    assert read_elsewhere(paths, experiment)["evaluation"] == pytest.approx(1000 / 3600)


def test_what_was_taken_over_cost_nothing_and_its_repetition_does(tmp_path):
    paths, experiment = RunPaths(tmp_path), an_experiment()
    sealed(paths, "sft", seconds=1800, taken_from="/cache/x")
    sealed(paths, "baselines", seconds=900, taken_from="/cache/y")
    assert read_spent(paths, experiment) == {}
    assert read_elsewhere(paths, experiment) == {"evaluation": 0.25}


def test_every_candidate_is_kept_a_share(tmp_path):
    table = {"promotion": {"num_candidates": 3}}
    paths = RunPaths(tmp_path)
    sealed(paths, "baselines", seconds=900)
    elsewhere = read_elsewhere(paths, parse_experiment(table, "here"))
    assert elsewhere == {"baselines": 0.25, "evaluation": 0.75}


def test_a_run_without_other_stages_gives_trials_the_whole_cap(tmp_path):
    assert read_elsewhere(RunPaths(tmp_path), an_experiment()) == {}
