"""Sizes of search spaces: computed, equal to what counting every trial would give."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd.config import Choice, FloatRange, IntRange, Space, all_values, draw_trial
from deepicd.config.search_checks import condition_faults, extreme_trials
from deepicd.errors import ConfigError


def whole(low, high, **when):
    return IntRange(type="int", low=low, high=high, when=when)


def choice(*values, **when):
    return Choice(type="choice", values=values, when=when)


def count_one_by_one(search, values_of):
    """Every trial, by walking through all values of all domains."""
    trials = {()}
    grids = {address: list(values_of(domain)) for address, domain in search.items()}
    choices = [{}]
    for address, values in grids.items():
        choices = [{**chosen, address: value} for chosen in choices for value in values]
    for chosen in choices:
        drawn = draw_trial(search, lambda address, _, chosen=chosen: chosen[address])
        trials.add(tuple(sorted(drawn.items(), key=str)))
    return trials - ({()} if search else set())


@st.composite
def searches(draw):
    """Up to five parameters, each of which may depend on some before it."""
    search = {}
    for address in "abcde"[: draw(st.integers(0, 5))]:
        parents = (
            draw(st.lists(st.sampled_from([*search]), unique=True, max_size=2)) if search else []
        )
        when = {
            parent: tuple(
                draw(st.lists(st.sampled_from([*all_values(search[parent])]), min_size=1))
            )
            for parent in parents
        }
        if draw(st.booleans()):
            low = draw(st.integers(-2, 2))
            search[address] = whole(low, low + draw(st.integers(0, 3)), **when)
        else:
            search[address] = choice(*draw(st.lists(st.sampled_from("xyz"), min_size=1)), **when)
    return search


@given(searches())
def test_a_space_holds_every_trial_once_and_knows_their_number(search):
    space = Space(search, all_values)
    trials = [tuple(sorted(trial.items(), key=str)) for trial in space]
    assert len(trials) == space.size == len(set(trials))
    assert set(trials) == count_one_by_one(search, all_values)
    assert all(trial in space for trial in space)
    assert {"a": "no value of any"} not in space and {"z": 1} not in space


def test_sizes_that_no_memory_holds_are_known_at_once():
    uniform = {str(n): FloatRange(type="uniform", low=0, high=1, num_points=60) for n in range(4)}
    space = Space(uniform, lambda domain: range(domain.num_points))
    assert space.size == 60**4 and space.trial(60**4 - 1) == dict.fromkeys("0123", 59)
    wide = {str(number): whole(1, 10**9) for number in range(3)}
    assert Space(wide, all_values).size == 10**27
    assert Space(wide, all_values).trial(10**27 - 1) == dict.fromkeys("012", 10**9)


def test_conditions_on_a_wide_range_cut_it_where_they_name_values():
    search = {"a": whole(1, 10**9), "b": choice("x", "y", a=[3, 10**9]), "c": whole(1, 10, b=["x"])}
    space = Space(search, all_values)
    assert space.size == (10**9 - 2) + 2 * (10 + 1)
    assert [trial["a"] for trial in islice(space, 4)] == [1, 2, 3, 3]
    assert space.trial(space.size - 1) == {"a": 10**9, "b": "y"}
    assert {"a": 5} in space and {"a": 3} not in space and {"a": 3, "b": "x", "c": 10} in space
    assert extreme_trials(search, "c") == [
        {"a": a, "b": "x", "c": end} for a in (3, 10**9) for end in (1, 10)
    ]


def test_conditions_that_make_too_many_cases_are_refused():
    search = {f"p{number}": whole(1, 100) for number in range(6)}
    search["last"] = choice(1, **{name: list(range(1, 100, 2)) for name in search})
    with pytest.raises(ConfigError, match=r"make more than 10000 cases; take some of them out"):
        Space(search, all_values)
    ((address, why),) = condition_faults(search)
    assert address == "p0" and "10000 cases" in why
