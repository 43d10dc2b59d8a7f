"""Samplers by name: what they propose, and what is refused."""

import json
import math
import pickle
from collections import Counter

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from deepicd.config import Choice, FloatRange, IntRange, parse_experiment
from deepicd.errors import ConfigError
from deepicd.sweeps.search.space import grid_trials, points
from deepicd.sweeps.search.validation import validate

SEARCH = {
    "training.learning_rate": {"type": "loguniform", "low": 1e-5, "high": 1e-3},
    "training.temperature": {"type": "choice", "values": [0.8, 1.0]},
    "training.rollout_n": {"type": "int", "low": 2, "high": 4},
}
WITH_KL = {
    "training.kl_coef": {
        "type": "loguniform",
        "low": 1e-4,
        "high": 1e-2,
        "when": {"training.use_kl_in_reward": True},
    },
    "training.use_kl_in_reward": {"type": "choice", "values": [False, True]},
    "training.rollout_n": {"type": "choice", "values": [4, 8]},
    "training.temperature": {
        "type": "uniform",
        "low": 0.7,
        "high": 1.0,
        "when": {"training.rollout_n": [8], "training.use_kl_in_reward": [False, True]},
    },
}
SAMPLERS = ["tpe", "random", "grid", "sobol"]


def experiment(**sweep):
    return parse_experiment({"sweep": {"search": SEARCH, **sweep}}, "here")


def begin(folder, name, number, *, seed=1, search=SEARCH):
    from deepicd.sweeps.search.searcher import Searcher

    sweep = {"search": search, "sampler": name, "num_trials": number}
    return Searcher(parse_experiment({"seed": seed, "sweep": sweep}, "here"), storage=folder)


def go_on(searcher, number, *, first=0):
    """Trials as Tune would run them, their score the greatest of their values."""
    proposed = []
    for index in range(first, first + number):
        proposed.append(searcher.suggest(f"t{index}"))
        searcher.on_trial_complete(f"t{index}", validated(max(proposed[-1].values())))
    return proposed


def validated(score, **more):
    return {"step": 10, "validation/hierarchical_f1": score, "checkpoint_path": "there", **more}


def study_of(folder):
    storage = JournalStorage(JournalFileBackend(str(folder / "optuna.log")))
    return optuna.load_study(study_name="experiment", storage=storage)


def propose(folder, name, number, **changes):
    return go_on(begin(folder, name, number, **changes), number)


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_seed_decides_what_is_proposed(tmp_path, name):
    proposed = propose(tmp_path, name, 8)
    assert proposed == propose(tmp_path, name, 8)
    assert proposed != propose(tmp_path, name, 8, seed=2)
    for values in proposed:
        assert 1e-5 <= values["training.learning_rate"] <= 1e-3
        assert values["training.temperature"] in (0.8, 1.0)
        assert values["training.rollout_n"] in (2, 3, 4)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_parameter_is_drawn_only_where_its_condition_holds(tmp_path, name):
    proposed = propose(tmp_path, name, 12, search=WITH_KL)
    assert proposed == propose(tmp_path, name, 12, search=WITH_KL)
    for values in proposed:
        assert ("training.kl_coef" in values) == values["training.use_kl_in_reward"]
        assert ("training.temperature" in values) == (values["training.rollout_n"] == 8)
    assert len({len(values) for values in proposed}) == 3, "with and without were both drawn"


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_searcher_that_goes_on_proposes_what_it_would_have(tmp_path, name):
    whole = propose(tmp_path / "whole", name, 10, search=WITH_KL)
    searcher = begin(tmp_path / "cut", name, 10, search=WITH_KL)
    assert go_on(searcher, 6) == whole[:6]
    searcher.save(str(tmp_path / "snapshot"))
    searcher.suggest("lost")  # proposed after Tune's snapshot, when the machine died
    later = pickle.loads(pickle.dumps(searcher))
    later.restore(str(tmp_path / "snapshot"))
    rest = go_on(later, 4, first=6)
    if name == "sobol":  # the place in its sequence is in the study, and one was lost
        assert all(values not in whole[:6] for values in rest)
    elif name == "grid":
        key = repr
        assert sorted(rest, key=key) == sorted(whole[6:], key=key)
    else:
        assert rest == whole[6:]


def test_the_study_is_told_a_trial_by_its_best_validation(tmp_path):
    searcher = begin(tmp_path, "tpe", 3)
    searcher.suggest("a")
    (tmp_path / "tune" / "a").mkdir(parents=True)
    report = tmp_path / "tune" / "a" / "result.json"
    report.write_text(json.dumps({**validated(0.9), "step": 5}) + "\n" + json.dumps(validated(0.4)))
    searcher.on_trial_result("a", {**validated(0.95), "objective": 0.95, "training_iteration": 8})
    searcher.on_trial_complete("a", validated(0.4))
    searcher.suggest("crashed")
    searcher.on_trial_complete("crashed", error=True)
    searcher.suggest("never validated")
    searcher.on_trial_complete("never validated", {"step": 0, "objective": math.nan})
    trials = study_of(tmp_path).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "FAIL"]
    assert trials[0].value == 0.95 and trials[0].user_attrs == {"trial": "a"}


def pursue(folder, number):
    names = ["hierarchical_f1", "gpu_hours", "response_length"]
    sweep = {"search": WITH_KL, "objectives": names, "num_trials": number}
    from deepicd.sweeps.search.searcher import Searcher

    searcher, proposed = Searcher(parse_experiment({"sweep": sweep}, "here"), storage=folder), []
    for index in range(number):
        proposed.append(searcher.suggest(f"t{index}"))
        cost = {"cost/gpu_hours": proposed[-1]["training.rollout_n"], "response_length/mean": 9}
        searcher.on_trial_result(f"t{index}", {"step": 5, "objective": 0.1})
        searcher.on_trial_complete(f"t{index}", validated(index / 10, **cost))
    return proposed


def test_with_several_objectives_the_study_gets_a_vector_and_a_seed_decides(tmp_path):
    proposed = pursue(tmp_path, 12)
    study = study_of(tmp_path)
    directions = [direction.name for direction in study.directions]
    assert directions == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
    for index, trial in enumerate(study.trials):
        assert trial.values == [index / 10, proposed[index]["training.rollout_n"], 9]
    assert pursue(tmp_path, 12) == proposed


def test_a_grid_visits_each_point_once(tmp_path):
    rows = [tuple(values[name] for name in SEARCH) for values in propose(tmp_path, "grid", 18)]
    assert len(set(rows)) == 18
    assert sorted({rate for rate, _, _ in rows}) == pytest.approx([1e-5, 1e-4, 1e-3])


def test_a_grid_with_conditions_has_the_distinct_points_only(tmp_path):
    proposed = propose(tmp_path, "grid", 16, search=WITH_KL)
    assert len({tuple(sorted(values.items())) for values in proposed}) == 16
    # (no KL, or KL with 3 coefficients) x (4 answers, or 8 with 3 temperatures)
    assert Counter(len(values) for values in proposed) == {2: 1, 3: 3 + 3, 4: 3 * 3}
    too_many = {"search": WITH_KL, "sampler": "grid", "num_trials": 17}
    with pytest.raises(ConfigError, match=r"the grid of .* has 16 points"):
        validate(parse_experiment({"sweep": too_many}, "here"))


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_sobol_covers_a_range_more_evenly_than_chance(tmp_path):
    rates = [values["training.learning_rate"] for values in propose(tmp_path, "sobol", 16)]
    assert sum(rate > 1e-4 for rate in rates) == 8
    quarters = Counter(int(4 * (math.log10(rate) + 5) / 2) for rate in rates)
    assert set(quarters.values()) == {4}


def test_the_points_of_a_domain():
    def listed(domain):
        return list(points(domain))

    assert listed(FloatRange(type="uniform", low=0, high=1)) == [0, 0.5, 1]
    assert listed(FloatRange(type="uniform", low=0, high=1, num_points=2)) == [0, 1]
    assert listed(IntRange(type="int", low=2, high=4)) == [2, 3, 4]
    assert listed(Choice(type="choice", values=("a", "b"))) == ["a", "b"]
    widest = FloatRange(type="loguniform", low=5e-324, high=2**31 - 1)
    assert listed(widest) == pytest.approx([5e-324, 1.03e-157, 2**31 - 1], rel=0.01)


def test_equal_points_of_a_domain_are_one():
    assert Choice(type="choice", values=(1, 1.0, True, "1", 1)).values == (1, True, "1")
    narrow = FloatRange(type="uniform", low=1, high=math.nextafter(1, 2), num_points=50)
    assert points(narrow) == [1, math.nextafter(1, 2)]


def test_more_trials_than_the_grid_has_points_are_refused():
    validate(experiment(sampler="grid", num_trials=18))
    with pytest.raises(ConfigError, match=r"the grid of .* has 18 points"):
        validate(experiment(sampler="grid", num_trials=19))


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", SAMPLERS)
def test_where_nothing_is_searched_every_sampler_proposes_the_experiment_itself(tmp_path, name):
    single = parse_experiment({"sweep": {"sampler": name, "num_trials": 1}}, "here")
    validate(single)
    searcher = begin(tmp_path, name, 1, search={})
    assert searcher.suggest("once") == {}
    searcher.on_trial_complete("once", validated(0.5))
    (trial,) = study_of(tmp_path).trials
    assert trial.values == [0.5] and trial.params == {}


def test_a_grid_of_any_size_is_drawn_from_and_never_built():
    uniform = {"type": "uniform", "low": 0.1, "high": 1, "num_points": 60}
    wide = {"seed": {"type": "int", "low": 1, "high": 10**9}}
    for address in ("training.learning_rate", "training.temperature", "rewards.hierarchy_curve"):
        wide[address] = uniform
    sweep = {"search": wide, "sampler": "grid", "num_trials": 50}
    chosen, others = (
        grid_trials(parse_experiment({"seed": seed, "sweep": sweep}, "here"), 50) for seed in (1, 2)
    )
    assert len({repr(trial) for trial in chosen}) == len(chosen) == 50
    assert chosen == grid_trials(parse_experiment({"seed": 1, "sweep": sweep}, "here"), 50)
    assert not {repr(trial) for trial in chosen} & {repr(trial) for trial in others}
    validate(parse_experiment({"sweep": sweep}, "here"))


def test_equal_points_of_a_grid_run_once():
    search = {
        "training.temperature": {"type": "choice", "values": [0.8, 0.8, 1, 1.0]},
        "training.rollout_n": {"type": "int", "low": 4, "high": 4},
    }
    sweep = {"search": search, "sampler": "grid", "num_trials": 2}
    found = parse_experiment({"sweep": sweep}, "here")
    validate(found)
    trials = sorted(trial["training.temperature"] for trial in grid_trials(found, 9))
    assert trials == [0.8, 1]
    with pytest.raises(ConfigError, match=r"the grid of .* has 2 points"):
        validate(parse_experiment({"sweep": {**sweep, "num_trials": 3}}, "here"))


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", ["tpe", "random", "sobol"])
def test_equal_trials_of_a_discrete_space_run_once_while_it_has_others(tmp_path, name):
    search = {
        "training.temperature": {"type": "choice", "values": [0.8, 1.0]},
        "training.use_kl_in_reward": {"type": "choice", "values": [False, True]},
        "training.rollout_n": {
            "type": "int", "low": 4, "high": 6, "when": {"training.use_kl_in_reward": True},
        },
    }  # fmt: skip
    proposed = propose(tmp_path / "a", name, 9, search=search)
    rows = [repr(sorted(values.items())) for values in proposed]
    assert len(set(rows[:8])) == 8, "two temperatures, each without KL or with one of three sizes"
    assert rows[8] in rows[:8], "then there is no other"
    assert proposed == propose(tmp_path / "b", name, 9, search=search)
    assert len(study_of(tmp_path / "a").get_trials(states=(optuna.trial.TrialState.COMPLETE,))) == 9
