"""Samplers and schedulers by name: what they propose, and what is refused."""

import optuna
import pytest

from deepicd.config import Choice, FloatRange, IntRange, parse_experiment
from deepicd.errors import ConfigError
from deepicd.sweeps.checks import check_settings
from deepicd.sweeps.samplers import build_sampler, points

SEARCH = {
    "training.learning_rate": {"type": "loguniform", "low": 1e-5, "high": 1e-3},
    "training.temperature": {"type": "choice", "values": [0.8, 1.0]},
    "training.rollout_n": {"type": "int", "low": 2, "high": 4},
}
DISTRIBUTIONS = {
    "training.learning_rate": optuna.distributions.FloatDistribution(1e-5, 1e-3, log=True),
    "training.temperature": optuna.distributions.CategoricalDistribution([0.8, 1.0]),
    "training.rollout_n": optuna.distributions.IntDistribution(2, 4),
}


def experiment(**sweep):
    return parse_experiment({"sweep": {"search": SEARCH, **sweep}}, "here")


def propose(name, number, *, seed=1):
    table = {"seed": seed, "sweep": {"search": SEARCH, "sampler": name}}
    study = optuna.create_study(sampler=build_sampler(parse_experiment(table, "here")))
    rows = []
    for _ in range(number):
        trial = study.ask(DISTRIBUTIONS)
        rows.append(tuple(trial.params[name] for name in SEARCH))
        study.tell(trial, rows[-1][0])
    return rows


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", ["tpe", "random", "grid", "sobol"])
def test_a_seed_decides_what_is_proposed(name):
    assert propose(name, 8) == propose(name, 8)
    assert propose(name, 8) != propose(name, 8, seed=2)
    for rate, temperature, number in propose(name, 8):
        assert 1e-5 <= rate <= 1e-3 and temperature in (0.8, 1.0) and number in (2, 3, 4)


def test_a_grid_visits_each_point_once():
    rows = propose("grid", 18)
    assert len(set(rows)) == 18
    assert sorted({rate for rate, _, _ in rows}) == pytest.approx([1e-5, 1e-4, 1e-3])


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_sobol_covers_a_range_more_evenly_than_chance():
    rates = [rate for rate, _, _ in propose("sobol", 17)][1:]  # the first draw is independent
    assert len({min(7, int(4 * (rate / 1e-5) ** 0.5 / 10**1)) for rate in rates}) >= 3
    decades = [0, 0]
    for rate in rates:
        decades[rate > 1e-4] += 1
    assert decades == [8, 8]


def test_the_points_of_a_domain():
    assert points(FloatRange(type="uniform", low=0, high=1)) == [0, 0.5, 1]
    assert points(FloatRange(type="uniform", low=0, high=1, num_points=2)) == [0, 1]
    assert points(IntRange(type="int", low=2, high=4)) == [2, 3, 4]
    assert points(Choice(type="choice", values=("a", "b"))) == ["a", "b"]


def test_more_trials_than_the_grid_has_points_are_refused():
    check_settings(experiment(sampler="grid", num_trials=18))
    with pytest.raises(ConfigError, match=r"the grid of .* has 18 points"):
        check_settings(experiment(sampler="grid", num_trials=19))


@pytest.mark.parametrize("name", ["pbt", "PBT", "pb2"])
def test_pbt_is_refused_with_the_reason_and_the_way_out(name):
    with pytest.raises(ConfigError, match=r"another one's weights.*Use asha or median"):
        experiment(scheduler=name)


@pytest.mark.parametrize("name", ["asha", "median"])
def test_a_scheduler_that_could_stop_nothing_is_refused(name):
    with pytest.raises(ConfigError, match=f"leaves {name} nothing to stop"):
        check_settings(experiment(scheduler=name, grace_steps=40))
    check_settings(experiment(scheduler="none", grace_steps=40))


class Trial:
    def __init__(self, name):
        self.trial_id = name
        self.status = "RUNNING"


def test_the_median_rule_spares_the_best_and_stops_the_worst():
    from deepicd.sweeps.rules import MedianRule

    rule = MedianRule(
        "validation/x",
        time_attr="step",
        metric="objective",
        mode="max",
        grace_period=2,
        min_samples_required=2,
    )
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
