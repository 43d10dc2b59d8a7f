"""Caps: what a plan refuses, and when no further trial starts."""

import json
import pickle

import pytest
from ray.tune.search import Searcher

from deepicd.config import parse_experiment
from deepicd.errors import ConfigError
from deepicd.sweeps.planning.plan import plan_sweep
from deepicd.sweeps.search.budget import Budget, within_budget
from deepicd.sweeps.search.caps import write_caps

SEARCH = {"training.learning_rate": {"type": "loguniform", "low": 1e-5, "high": 1e-3}}


def an_experiment(**sweep):
    table = {"training": {"total_steps": 10, "validate_every": 5, "num_gpus": 2}}
    return parse_experiment({**table, "sweep": {"search": SEARCH, "grace_steps": 5, **sweep}}, "x")


class Inner(Searcher):
    def __init__(self):
        super().__init__(metric="objective", mode="max")
        self.over = []

    def suggest(self, trial_id):
        return {"training.learning_rate": 1e-4}

    def on_trial_complete(self, trial_id, result=None, error=False):
        self.over.append(trial_id)


@pytest.fixture
def sweep(tmp_path, log_lines):
    def ran(trial, *, steps, seconds):
        folder = tmp_path / "tune" / trial
        folder.mkdir(parents=True, exist_ok=True)
        row = {"step": steps, "time_total_s": seconds}
        (folder / "result.json").write_text(json.dumps(row) + "\n")

    experiment = an_experiment(max_gpu_hours=5.0)
    write_caps(tmp_path, experiment, elsewhere=0.0)
    return Budget(Inner(), experiment, storage=tmp_path), ran, log_lines


def test_a_trial_starts_only_while_the_rest_could_hold_a_whole_one(sweep):
    searcher, ran, lines = sweep
    for trial, steps in (("a", 10), ("b", 5)):  # 2 GPU-hours, and half of it: stopped early
        assert isinstance(searcher.suggest(trial), dict)
        ran(trial, steps=steps, seconds=360 * steps)
        searcher.on_trial_complete(trial)
    assert isinstance(searcher.suggest("c"), dict)  # 3 spent, 2 left
    ran("c", steps=1, seconds=360)
    assert searcher.suggest("d") is None and not lines  # c may come to 2; if it is stopped, wait
    ran("c", steps=10, seconds=3600)
    searcher.on_trial_complete("c")
    assert searcher.suggest("d") == Searcher.FINISHED
    assert searcher.searcher.over == ["a", "b", "c"]
    assert lines == [
        "no further trial: 5.00 of 5.00 GPU-hours are spent and a whole trial takes up to 2.00"
    ]


def test_sft_and_evaluation_have_their_share_of_the_cap(sweep, tmp_path):
    searcher, ran, lines = sweep
    write_caps(tmp_path, an_experiment(max_gpu_hours=5.0), elsewhere=2.5)
    searcher.suggest("a")
    ran("a", steps=10, seconds=3600)
    searcher.on_trial_complete("a")
    assert searcher.suggest("b") == Searcher.FINISHED
    assert lines[0].startswith("no further trial: 2.00 of 2.50 GPU-hours are spent")


def test_a_whole_trial_takes_no_more_than_the_cap_of_one(sweep, tmp_path):
    searcher, ran, _ = sweep
    capped = an_experiment(max_gpu_hours=5.0, max_trial_gpu_hours=1.0)
    write_caps(tmp_path, capped, elsewhere=0.0)
    for trial in "abcde":  # each would take 20 GPU-hours, and is ended after one
        assert isinstance(searcher.suggest(trial), dict)
        ran(trial, steps=1, seconds=1800)
        searcher.on_trial_complete(trial)
    assert searcher.suggest("f") == Searcher.FINISHED


def test_the_last_report_counts_before_tune_brings_it_to_disk(sweep):
    searcher, ran, _ = sweep
    searcher.suggest("a")
    ran("a", steps=1, seconds=1)
    searcher.on_trial_complete("a", {"step": 10, "time_total_s": 3600 * 2.4})
    assert searcher.suggest("b") == Searcher.FINISHED


def test_what_was_spent_survives_an_interruption(sweep, tmp_path):
    searcher, ran, _ = sweep
    searcher.suggest("a")
    ran("a", steps=10, seconds=7200)
    searcher.on_trial_complete("a")
    again = Budget(Inner(), an_experiment(max_gpu_hours=5.0), storage=tmp_path)
    again.set_state(pickle.loads(pickle.dumps(searcher.get_state())))
    assert again.suggest("b") == Searcher.FINISHED


def test_a_plan_that_nobody_shortens_must_fit_its_cap():
    fixed = an_experiment(max_gpu_hours=5.0, scheduler="none")
    assert plan_sweep(fixed, step_s=180.0).cap == {"slot_hours": 5.0}  # 4 x 10 x 180 s x 2 GPUs = 4
    with pytest.raises(ConfigError, match=r"take 8\.0 GPU-hours, the cap is 5\.0 .* it holds 2\. "):
        plan_sweep(fixed, step_s=360.0)
    assert plan_sweep(an_experiment(max_gpu_hours=5.0), step_s=360.0).hours["slot"] == 8.0


def test_the_cap_of_a_trial_bounds_the_hours_of_a_plan():
    plan = plan_sweep(an_experiment(max_trial_gpu_hours=1.0), step_s=360.0)
    assert plan.cap == {"slot_hours_of_a_trial": 1.0} and plan.hours["slot"] == 4.0


def test_a_cap_in_money_is_one_in_hours_at_a_price():
    experiment = an_experiment(max_cost=30.0, gpu_hour_price=3.0)
    assert plan_sweep(experiment).cap == {"slot_hours": 10.0, "usd": 30.0}
    with pytest.raises(ConfigError, match=r"max_cost needs sweep\.gpu_hour_price"):
        an_experiment(max_cost=30.0)


def test_without_a_cap_the_searcher_stays_as_it_is(tmp_path):
    inner = Inner()
    assert within_budget(inner, an_experiment(), storage=tmp_path) is inner
