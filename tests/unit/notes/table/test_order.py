"""Keys of orders compare as numbers and times do."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd.errors import DataError
from deepicd.notes.table.order import OrderReader, number_key


def keys(*orders: str | None) -> list[str]:
    return OrderReader().read(orders, lambda row: f"row {row + 1}")


numbers = st.decimals(-(10**30), 10**30, allow_nan=False, places=5)
instants = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)).map(
    lambda at: at.replace(tzinfo=UTC)
)
offsets = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))


@given(numbers, numbers)
def test_keys_of_numbers_compare_as_they_do(one, other):
    assert (number_key(one) < number_key(other)) == (one < other)
    assert (number_key(one) == number_key(other)) == (one == other)


@given(instants, instants, offsets, offsets)
def test_keys_of_times_compare_as_they_do_in_any_zone(one, other, here, there):
    first, second = keys(one.astimezone(here).isoformat(), other.astimezone(there).isoformat())
    assert (first < second) == (one < other) and (first == second) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("7", "7.0"), ("007", "7"), ("-0", "0"), ("1e3", "1000"), ("+5", "5.")),
        *((".5", "0.50"), (" 1e+20", "1" + "0" * 20)),
        ("2019-01-02 10:00", "2019-01-02T10:00:00.000000000"),
        ("2019-01-02T10:00:00Z", "2019-01-02 12:00:00+0200"),
        ("2019-01-02 10:00 UTC", "2019-01-02T05:00:00,0-05"),
    ],
)
def test_values_that_are_equal_have_one_key(one, other):
    first, second = keys(one.strip(), other)
    assert first == second


def test_a_nanosecond_is_later():
    first, second = keys("2019-01-02 10:00:00.000000001", "2019-01-02 10:00:00.000000002")
    assert keys("2019-01-02 10:00:00")[0] < first < second


@pytest.mark.parametrize(
    "column", [("7", None, "2019-01-02"), ("2019-01-02", "", "2019-01-02 10:00"),
    ("2019-01-02 09:00", None, "2019-01-02 09:00Z")],
)  # fmt: skip
def test_a_column_of_two_kinds_is_refused_at_the_first_of_the_second(column):
    with pytest.raises(DataError, match=r"row 3: order is .* in the rows before, so they cannot"):
        keys(*column)


@pytest.mark.parametrize(
    "order", ["0001-01-01T00:00+14:00", "1" * 100, "\u0661", "1e9999", "24:00"]
)
def test_what_no_key_can_be_made_of_is_refused(order):
    with pytest.raises(DataError, match=r"row 1: order must be a number .* it is neither"):
        keys(order)


def test_the_longest_numbers_have_keys():
    assert number_key(Decimal("9" * 99 + "e-999")) < number_key(Decimal("1e999"))
