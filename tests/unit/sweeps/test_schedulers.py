"""Who is stopped early: ASHA and the median stopping rule, before and after a resume."""

import json
import math
from pathlib import Path

import pytest

from deepicd.config import parse_experiment
from deepicd.errors import ConfigError
from deepicd.sweeps.schedulers import (
    ResumableASHA,
    ResumableMedian,
    build_scheduler,
    stopping_steps,
)
from deepicd.sweeps.search.validation import validate

SEARCH = {"training.learning_rate": {"type": "loguniform", "low": 1e-5, "high": 1e-3}}
VALIDATION = "validation/hierarchical_f1"
MEDIAN = {"time_attr": "step", "metric": "objective", "mode": "max", "min_samples_required": 2}


def experiment(**sweep):
    return parse_experiment({"sweep": {"search": SEARCH, **sweep}}, "here")


class Trial:
    """The attributes of Ray Tune's trial that a scheduler reads."""

    def __init__(self, name, **params):
        self.trial_id = name
        self.status = "RUNNING"
        self.config = params
        self.path = "/nowhere"


def validated(step, score):
    return {"step": step, "objective": score, VALIDATION: score}


def decide(scheduler, trial, *rows):
    """The scheduler's answers to a trial that starts and reports these rows."""
    scheduler.on_trial_add(None, trial)
    return [scheduler.on_trial_result(None, trial, row) for row in rows]


@pytest.mark.parametrize("name", ["pbt", "PBT", "pb2"])
def test_pbt_is_refused_with_the_reason_and_the_way_out(name):
    with pytest.raises(ConfigError, match=r"another one's weights.*Use asha or median"):
        experiment(scheduler=name)


@pytest.mark.parametrize("name", ["asha", "median"])
def test_a_scheduler_that_could_stop_nothing_is_refused(name):
    with pytest.raises(ConfigError, match=f"leaves {name} nothing to stop"):
        validate(experiment(scheduler=name, grace_steps=40))
    validate(experiment(scheduler="none", grace_steps=40))


def test_a_median_of_too_few_trials_is_refused():
    with pytest.raises(ConfigError, match="would stop nobody"):
        validate(experiment(scheduler="median", num_trials=2))
    validate(experiment(scheduler="median", num_trials=3))


@pytest.mark.parametrize(
    ("scheduler", "expected"), [("asha", [2, 4, 8]), ("median", [4, 6, 8]), ("none", [])]
)
def test_a_trial_may_be_stopped_where_its_scheduler_compares(scheduler, expected):
    grace = 2 if scheduler == "asha" else 3
    table = {
        "training": {"total_steps": 10, "validate_every": 2},
        "sweep": {"scheduler": scheduler, "grace_steps": grace},
    }
    assert stopping_steps(parse_experiment(table, "here")) == expected


def test_a_scheduler_is_built_by_its_name():
    kinds = {name: type(build_scheduler(experiment(scheduler=name))) for name in ("asha", "median")}
    assert kinds == {"asha": ResumableASHA, "median": ResumableMedian}
    assert type(build_scheduler(experiment(scheduler="none"))).__name__ == "FIFOScheduler"


def test_asha_stops_a_trial_below_the_best_half_at_a_rung():
    scheduler = build_scheduler(experiment(grace_steps=10, reduction_factor=2))
    assert decide(scheduler, Trial("a"), validated(10, 0.5)) == ["CONTINUE"]
    assert decide(scheduler, Trial("b"), validated(10, 0.6)) == ["CONTINUE"]
    assert decide(scheduler, Trial("c"), validated(10, 0.4)) == ["STOP"]
    assert decide(scheduler, Trial("d"), validated(9, 0.1)) == ["CONTINUE"], "within the grace"


def test_asha_leaves_the_last_step_to_the_trial():
    scheduler = build_scheduler(experiment(grace_steps=10, reduction_factor=2))
    rows = [validated(step, 0.5) for step in (10, 20, 40)]
    assert decide(scheduler, Trial("a"), *rows) == ["CONTINUE"] * 3


@pytest.mark.parametrize("name", ["asha", "median"])
def test_a_trial_that_confirms_is_exempt(name):
    scheduler = build_scheduler(experiment(scheduler=name, confirm_top=1))
    for rival, score in (("a", 0.5), ("b", 0.6), ("c", 0.7)):
        decide(scheduler, Trial(rival, seed=1), validated(10, score))
    assert decide(scheduler, Trial("fresh", seed=2), validated(10, 0.0)) == ["CONTINUE"]
    assert decide(scheduler, Trial("proposed", seed=1), validated(10, 0.0)) == ["STOP"]


def test_the_median_rule_keeps_the_best_and_stops_the_worst():
    rule = ResumableMedian("validation/x", grace_period=2, **MEDIAN)
    verdicts = {}
    for name, score in (("a", 0.5), ("b", 0.6), ("best", 0.7), ("worst", 0.1)):
        trial = Trial(name)
        for step in range(5):
            result = {"step": step, "objective": float("nan") if step < 2 else score}
            if step in (2, 4):
                result["validation/x"] = score
            verdicts[name, step] = rule.on_trial_result(None, trial, result)
            if verdicts[name, step] == "STOP":
                break
    assert [key for key, verdict in verdicts.items() if verdict == "STOP"] == [("worst", 2)]
    assert set(verdicts.values()) == {"CONTINUE", "STOP"}


def test_the_median_rule_never_pauses_a_trial_for_a_waiting_one():
    class Controller:
        def get_live_trials(self):
            waiting = Trial("waiting")
            waiting.status = "PENDING"
            return [waiting]

    rule = ResumableMedian(VALIDATION, grace_period=1, **MEDIAN)
    assert rule.on_trial_result(Controller(), Trial("a"), validated(5, 0.5)) == "CONTINUE"


def test_a_report_without_a_score_decides_nothing():
    rule = ResumableMedian(VALIDATION, grace_period=1, **MEDIAN)
    for name, score in (("a", 0.5), ("b", 0.6)):
        decide(rule, Trial(name), validated(5, score))
    before_the_first_validation = {"step": 3, "objective": math.nan}
    between_two = {"step": 4, "objective": 0.1}
    trial = Trial("c")
    assert decide(rule, trial, before_the_first_validation, between_two) == ["CONTINUE"] * 2
    assert rule.on_trial_result(None, trial, validated(5, 0.1)) == "STOP"


@pytest.mark.parametrize("scheduler", ["asha", "median"])
def test_a_scheduler_knows_after_a_resume_what_trials_reported_before(tmp_path, scheduler):
    from ray.train._internal.storage import StorageContext
    from ray.tune.experiment.trial import Trial as TuneTrial

    storage = StorageContext(str(tmp_path), experiment_dir_name="tune")
    resumed = build_scheduler(experiment(scheduler=scheduler, grace_steps=10))
    for name, score in (("a", 0.5), ("b", 0.6), ("c", 0.7), ("new", 0.1)):
        trial = TuneTrial("nothing", stub=True, trial_id=name, storage=storage)
        if name != "new":
            trial.storage.trial_dir_name = name
            rows = [
                {"step": 0, "objective": float("nan")},
                {"step": 10, "objective": score, "validation/hierarchical_f1": score},
            ]
            folder = Path(trial.path)
            folder.mkdir(parents=True)
            (folder / "result-000.json").write_text("\n".join(map(json.dumps, rows)))
        resumed.on_trial_add(None, trial)
    assert resumed.on_trial_result(None, trial, validated(10, 0.1)) == "STOP"
