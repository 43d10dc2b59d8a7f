"""The code table on single days: official lists, and the changes that were announced."""

import runpy

import pytest

from deepicd import codes

OCTOBER = {
    2020: (273, 21),
    2021: (488, 58),  # 490 were announced, with U07.0 and U07.1, in use since April 2020
    2022: (159, 32),
    2023: (1176, 287),
    2024: (395, 25),
    2025: (252, 36),
    2026: (487, 28),
}
"""Fiscal year → billable codes that were announced as new and as deleted on its first day."""


@pytest.fixture(scope="module")
def script(root):
    return runpy.run_path(str(root / "scripts/check_code_dates.py"))


@pytest.mark.parametrize("date", ["2021-01-01", "2023-10-01", "2025-04-01", "2026-04-01"])
def test_the_table_holds_on_a_day_what_the_official_list_of_that_day_holds(script, date):
    rows = [line.split("\t") for line in script["DAYS"].read_text().splitlines()[1:]]
    count, sha256 = next((row[1], row[2]) for row in rows if row[0] == date)
    ours = script["billable_on"](date)
    assert (len(ours), script["digest"](ours)) == (int(count), sha256)


@pytest.mark.parametrize("year", list(OCTOBER))
def test_each_october_brings_what_was_announced_and_nothing_else_slips_into_a_year(script, year):
    """A code of an April that the table of changes lacked would be one more or one fewer here."""
    before = script["billable_on"](f"{year - 1}-09-30")
    first = script["billable_on"](f"{year - 1}-10-01")
    assert (len(first - before), len(before - first)) == OCTOBER[year]


@pytest.mark.parametrize(
    ("day_before", "day", "num_new", "num_ended"),
    [
        ("2020-03-31", "2020-04-01", 2, 0),
        ("2020-12-31", "2021-01-01", 6, 1),
        ("2022-03-31", "2022-04-01", 3, 1),
        ("2023-03-31", "2023-04-01", 42, 7),
        ("2024-03-31", "2024-04-01", 0, 0),
        ("2025-03-31", "2025-04-01", 0, 0),
        ("2026-03-31", "2026-04-01", 0, 0),
    ],
)
def test_a_code_begins_and_ends_on_its_day(script, day_before, day, num_new, num_ended):
    before, after = script["billable_on"](day_before), script["billable_on"](day)
    assert (len(after - before), len(before - after)) == (num_new, num_ended)


def test_the_first_release_of_every_code_that_began_within_a_year_is_that_year(script):
    for line in script["MIDYEAR"].read_text().splitlines()[1:]:
        date, change, listed, _ = line.split("\t")
        for name in listed.split():
            years, year = codes.billable_releases(name), script["fiscal_year"](date)
            assert year == (years[0] if change == "added" else years[-1]), name


def test_the_leaves_of_a_list_are_its_billable_codes(script):
    nodes = ["S02", "S026", "S0262", "S0262XA", "S0262XD", "I10", "T07", "T07XXXA"]
    assert script["find_leaves"](nodes) == {"S0262XA", "S0262XD", "I10", "T07XXXA"}
