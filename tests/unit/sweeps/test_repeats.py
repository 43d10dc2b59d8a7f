"""Repeated configurations as Tune asks for them, trial by trial, with several at once."""

import pickle

import optuna
import pytest

from deepicd.config import parse_experiment

RATE = "training.learning_rate"
SEARCH = {RATE: {"type": "uniform", "low": 0.1, "high": 1}}


@pytest.fixture
def build(tmp_path):
    from deepicd.sweeps.search.repeats import repeat
    from deepicd.sweeps.search.searcher import Searcher

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def build(**sweep):
        table = {"seed": 3, "sweep": {"search": SEARCH, "num_trials": 2, **sweep}}
        experiment = parse_experiment(table, "here")
        return repeat(Searcher(experiment, storage=tmp_path), experiment)

    return build


def end(searcher, trial, score):
    row = {"step": 1, "validation/hierarchical_f1": score, "checkpoint_path": "kept"}
    searcher.on_trial_complete(trial, None if score is None else row, error=score is None)


def values(searcher):
    return [trial.value for trial in searcher.searcher._ot_study.trials]


def test_without_repetitions_the_searcher_is_the_sampler_itself(build):
    assert type(build()).__name__ == "Searcher" and type(build(num_seeds=2)).__name__ == "Repeats"


def test_each_configuration_runs_with_each_seed_and_the_sampler_is_told_the_mean(build):
    searcher = build(num_seeds=2)
    params = [searcher.suggest(name) for name in "abcd"]
    assert [one["seed"] for one in params] == [3, 4, 3, 4]
    assert params[0][RATE] == params[1][RATE] != params[2][RATE] == params[3][RATE]
    assert searcher.suggest("e") is None  # what is left to do depends on those that run
    end(searcher, "b", 0.2)
    assert values(searcher) == [None, None]
    end(searcher, "a", 0.6)
    end(searcher, "c", 0.3)
    end(searcher, "d", None)
    assert values(searcher) == [pytest.approx(0.4), pytest.approx(0.3)]
    assert searcher.suggest("e") == "FINISHED"


def test_the_best_runs_again_with_fresh_seeds_once_all_are_over(build):
    searcher = build(confirm_top=1)
    params = [searcher.suggest(name) for name in "ab"]
    end(searcher, "a", 0.6)
    assert searcher.suggest("c") is None
    end(searcher, "b", 0.7)
    again = [searcher.suggest(name) for name in "cd"]
    assert again == [{**params[1], "seed": seed} for seed in (4, 5)]
    end(searcher, "c", 0.1)  # which nobody is told
    assert values(searcher) == [0.6, 0.7] and searcher.suggest("e") == "FINISHED"


def test_what_failed_with_every_seed_is_not_confirmed(build):
    searcher = build(confirm_top=2, confirm_seeds=1)
    params = [searcher.suggest(name) for name in "ab"]
    end(searcher, "a", None)
    end(searcher, "b", 0.7)
    assert searcher.suggest("c") == {**params[1], "seed": 4}
    assert searcher.suggest("d") == "FINISHED"
    states = [trial.state.name for trial in searcher.searcher._ot_study.trials]
    assert states == ["FAIL", "COMPLETE"]


def test_a_sweep_goes_on_from_what_tune_saved(build):
    searcher = build(num_seeds=2)
    first = searcher.suggest("a")
    state = pickle.loads(pickle.dumps(searcher.get_state()))
    other = build(num_seeds=2)
    other.set_state(state)
    assert other.suggest("b") == {**first, "seed": 4} and "searcher" not in state
