"""The script that builds the code table."""

import runpy

from deepicd import codes


def test_build_script_reads_ranges_and_chapters(root):
    script = runpy.run_path(str(root / "scripts/build_code_table.py"))
    assert [script["chapter_of"](c) for c in ("D49", "D50", "QA0", "T88", "U07", "V00", "Z99")] == [
        *("II", "III", "XVII", "XIX", "XXII", "XX", "XXI")
    ]
    match = script["RANGE"].match("Pregnancy, childbirth and the puerperium (O00-O9A)")
    assert (match["first"], match["last"]) == ("O00", "O9A")


def test_what_began_or_ended_within_a_year_is_billable_in_that_year(root):
    script = runpy.run_path(str(root / "scripts/build_code_table.py"))
    lines = script["MIDYEAR"].read_text().splitlines()[1:]
    counts = []
    for date, change, listed, _ in (line.split("\t") for line in lines):
        year, names = script["fiscal_year"](date), listed.split()
        before = codes.RELEASES[codes.RELEASES.index(year) - 1]
        counts.append((date, change, len(names)))
        for name in names:
            after = codes.RELEASES[codes.RELEASES.index(year) + 1]
            assert codes.is_billable(name, year), name
            assert codes.is_billable(name, before) == (change == "ended"), name
            assert change == "added" or not codes.is_billable(name, after), name
            assert codes.exists(name[:3], year), name
    assert counts == [
        ("2020-04-01", "added", 2), ("2021-01-01", "added", 6), ("2021-01-01", "ended", 1),
        ("2022-04-01", "added", 3), ("2022-04-01", "ended", 1), ("2023-04-01", "added", 42),
        ("2023-04-01", "ended", 7), ("2024-04-01", "unchanged", 0),
        ("2025-04-01", "unchanged", 0), ("2026-04-01", "unchanged", 0),
    ]  # fmt: skip


def test_a_fiscal_year_begins_in_october(root):
    script = runpy.run_path(str(root / "scripts/build_code_table.py"))
    days = ["2019-10-01", "2020-04-01", "2020-09-30", "2020-10-01"]
    assert [script["fiscal_year"](day) for day in days] == [2020, 2020, 2020, 2021]
