"""A value's one address: nested tables told apart by it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd.config import flatten
from deepicd.config.addresses import set_address
from deepicd.errors import ConfigError

NAMES = st.sampled_from(["a", "b", "c"])
TABLES = st.recursive(st.integers(), lambda inner: st.dictionaries(NAMES, inner, max_size=3))


def test_a_record_is_shown_address_by_address():
    values = {"a": {"b": 1, "c": []}, "d": [{"e": 2}, 3]}
    found = flatten(values, into_lists=True)
    assert found == {"a.b": 1, "a.c": [], "d.0.e": 2, "d.1": 3}


def test_a_list_and_an_empty_table_are_values_of_an_experiment():
    values = {"sweep": {"freeze": ["a.b"], "search": {}}, "seed": 1}
    assert flatten(values) == {"sweep.freeze": ["a.b"], "sweep.search": {}, "seed": 1}


@given(st.dictionaries(NAMES, TABLES, max_size=3))
def test_setting_every_address_of_a_table_gives_the_table(table):
    rebuilt = {}
    for address, value in flatten(table).items():
        set_address(rebuilt, address, value)
    assert rebuilt == table


def test_an_address_below_a_value_is_refused():
    with pytest.raises(ConfigError, match=r"seed\.x: seed is a value, not a table"):
        set_address({"seed": 1}, "seed.x", 2)
