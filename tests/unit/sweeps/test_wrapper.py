"""Searchers around a searcher: what is handed on, and what Ray Tune saves and restores of them."""

import json
import pickle

import optuna
import pytest
from ray.tune.search import Searcher as TuneSearcher
from ray.tune.search import SearchGenerator

from deepicd.config import parse_experiment
from deepicd.sweeps.search.budget import Budget
from deepicd.sweeps.search.repeats import Repeats
from deepicd.sweeps.search.searcher import Searcher
from deepicd.sweeps.search.wrapper import SearcherWrapper

RATE = "training.learning_rate"
EXPERIMENT = parse_experiment(
    {
        "name": "wrapped",
        "training": {"total_steps": 2, "validate_every": 1},
        "sweep": {
            "num_trials": 2,
            "num_seeds": 2,
            "grace_steps": 1,
            "max_gpu_hours": 100.0,
            "search": {RATE: {"type": "uniform", "low": 0.1, "high": 0.9}},
        },
    },
    "here",
)


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


class Recorder(TuneSearcher):
    """A searcher that remembers what it was asked and told."""

    def __init__(self):
        super().__init__(metric="objective", mode="max")
        self.calls = []

    def suggest(self, trial_id):
        return {RATE: 0.1}

    def on_trial_result(self, trial_id, result):
        self.calls.append(("result", trial_id, result))

    def on_trial_complete(self, trial_id, result=None, error=False):
        self.calls.append(("complete", trial_id, result, error))

    def set_search_properties(self, metric, mode, config, **spec):
        self.calls.append(("properties", metric, mode, config, spec))
        return True

    def save(self, checkpoint_path):
        self.calls.append(("save", checkpoint_path))

    def restore(self, checkpoint_path):
        self.calls.append(("restore", checkpoint_path))


def test_a_wrapper_hands_on_what_it_does_not_change():
    inner = Recorder()
    wrapper = SearcherWrapper(inner, EXPERIMENT)
    assert (wrapper.metric, wrapper.mode) == ("objective", "max")
    wrapper.on_trial_result("a", {"step": 1})
    assert wrapper.set_search_properties("objective", "max", {}, num_samples=2) is True
    wrapper.save("there")
    wrapper.restore("there")
    assert inner.calls == [
        ("result", "a", {"step": 1}),
        ("properties", "objective", "max", {}, {"num_samples": 2}),
        ("save", "there"),
        ("restore", "there"),
    ]


def test_the_state_of_a_wrapper_leaves_the_inner_searcher_to_itself():
    wrapper = SearcherWrapper(Recorder(), EXPERIMENT)
    state = pickle.loads(pickle.dumps(wrapper.get_state()))
    assert "searcher" not in state
    other = SearcherWrapper(inner := Recorder(), EXPERIMENT)
    other.set_state({**state, "added": 3})
    assert other.searcher is inner and other.added == 3


def nested(folder):
    """What a sweep with a cap and repeated seeds asks for trials."""
    repeats = Repeats(Searcher(EXPERIMENT, storage=folder), EXPERIMENT)
    return SearchGenerator(Budget(repeats, EXPERIMENT, storage=folder))


def end(searcher, folder, trial, score):
    row = {"step": 2, "validation/hierarchical_f1": score, "checkpoint_path": "there"}
    place = folder / "tune" / trial
    place.mkdir(parents=True)
    (place / "result.json").write_text(json.dumps({**row, "time_total_s": 3600.0}) + "\n")
    searcher.on_trial_complete(trial, row)


def test_ray_tune_restores_every_wrapper_and_the_searcher_inside(tmp_path):
    generator = nested(tmp_path)
    budget = generator.searcher
    first = budget.suggest("a")
    end(budget, tmp_path, "a", 0.4)
    states = tmp_path / "states"
    states.mkdir()
    generator.save_to_dir(str(states), "session")
    # As Tuner.restore does it: a copy of the searcher, which leaves the study on disk as it is.
    restored = SearchGenerator(pickle.loads(pickle.dumps(budget)))
    restored.searcher._ended_gpu_hours.clear()
    restored.searcher.searcher._groups.clear()
    restored.restore_from_dir(str(states))
    second = restored.searcher.suggest("b")
    assert second == {**first, "seed": first["seed"] + 1}
    assert restored.searcher._ended_gpu_hours == {"a": pytest.approx(1.0)}
    end(restored.searcher, tmp_path, "b", 0.6)
    study = restored.searcher.searcher.searcher._ot_study
    assert [trial.value for trial in study.trials] == [pytest.approx(0.5)]


def test_reports_reach_the_study_through_all_wrappers(tmp_path):
    budget = nested(tmp_path).searcher
    budget.suggest("a")
    row = {"step": 1, "objective": 0.3, "validation/hierarchical_f1": 0.3, "training_iteration": 2}
    budget.on_trial_result("a", row)
    (trial,) = budget.searcher.searcher._ot_study.trials
    assert trial.intermediate_values == {2: 0.3}
