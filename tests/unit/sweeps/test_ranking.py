"""Configurations and their order: by the mean over seeds, confirmed ones first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd.config import parse_experiment
from deepicd.sweeps.results.ranking import ScoredTrial, is_fresh, mean_score, rank

RATE = "training.learning_rate"


def an_experiment(**sweep):
    return parse_experiment({"seed": 5, "sweep": sweep}, "here")


def scored(name, score, *, rate, seed=None):
    params = {RATE: rate} if seed is None else {RATE: rate, "seed": seed}
    return ScoredTrial(name, params, score)


def test_trials_that_differ_in_their_seed_only_are_one_configuration():
    trials = [
        scored("a1", 0.2, rate=1, seed=5),
        scored("b1", 0.5, rate=2, seed=5),
        scored("a2", 0.6, rate=1, seed=6),
    ]
    first, second = rank(trials, an_experiment(num_seeds=2))
    assert first.params == {RATE: 2} and first.mean == 0.5
    assert [trial.id for trial in second.counted] == ["a1", "a2"]
    assert second.mean == pytest.approx(0.4) == mean_score(second.proposed)


def test_a_confirmed_configuration_comes_before_one_with_a_higher_mean():
    trials = [
        scored("lucky", 0.9, rate=1, seed=5),
        scored("solid", 0.8, rate=2, seed=5),
        scored("again", 0.3, rate=2, seed=6),
    ]
    confirmed, proposed = rank(trials, an_experiment(confirm_top=1))
    assert (
        [trial.id for trial in confirmed.fresh]
        == ["again"]
        == [trial.id for trial in confirmed.counted]
    )
    assert confirmed.mean == 0.3 < proposed.mean == 0.9
    assert [trial.id for trial in confirmed.proposed] == ["solid"]


@pytest.mark.parametrize(
    ("sweep", "seed", "expected"),
    [
        ({}, 99, False),
        ({"confirm_top": 1}, 5, False),
        ({"confirm_top": 1}, 6, True),
        ({"confirm_top": 1, "num_seeds": 3}, 7, False),
        ({"confirm_top": 1, "num_seeds": 3}, 8, True),
    ],
)
def test_a_trial_is_fresh_when_its_seed_comes_after_the_proposed_ones(sweep, seed, expected):
    assert is_fresh({RATE: 1, "seed": seed}, an_experiment(**sweep)) is expected


def test_a_trial_without_a_seed_of_its_own_has_the_experiments():
    assert not is_fresh({RATE: 1}, an_experiment(confirm_top=1))


def test_no_trials_make_no_configuration():
    assert rank([], an_experiment()) == []


def test_the_first_of_equals_comes_first():
    trials = [scored(name, 0.5, rate=rate) for rate, name in enumerate("abc")]
    assert [one.counted[0].id for one in rank(trials, an_experiment())] == ["a", "b", "c"]
    assert [one.counted[0].id for one in rank(trials[::-1], an_experiment())] == ["c", "b", "a"]


@given(st.lists(st.integers(0, 100), min_size=1, max_size=8, unique=True), st.randoms())
def test_the_order_of_trials_does_not_change_the_ranking(values, chance):
    trials = [scored(str(value), value / 100, rate=value) for value in values]
    shuffled = list(trials)
    chance.shuffle(shuffled)
    means = [configuration.mean for configuration in rank(shuffled, an_experiment())]
    assert means == sorted((value / 100 for value in values), reverse=True)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10)), min_size=1, max_size=12))
def test_every_trial_is_counted_in_exactly_one_configuration(pairs):
    trials = [
        scored(str(number), score / 10, rate=rate, seed=5)
        for number, (rate, score) in enumerate(pairs)
    ]
    ranked = rank(trials, an_experiment())
    counted = [trial.id for configuration in ranked for trial in configuration.counted]
    assert sorted(counted, key=int) == [trial.id for trial in trials]
    assert len(ranked) == len({rate for rate, _ in pairs})
