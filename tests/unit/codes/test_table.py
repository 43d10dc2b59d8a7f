"""The code table: releases, spelling, titles, memory."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd import codes

OFFICIAL_COUNTS = {
    2016: 69_832,
    2019: 71_932,
    2020: 72_184,
    2021: 72_621,
    2022: 72_750,
    2023: 73_674,
    2024: 74_044,
    2025: 74_260,
    2026: 74_719,
}
"""Billable codes a release, as published by CMS."""

MIDYEAR = {2020: 2, 2021: 1, 2022: 1, 2023: 7}
"""Codes that the published count lacks: begun after it, or ended before it, in the same year."""

billable = st.sampled_from(codes.billable_codes())
blanks = st.sampled_from(["", " ", "\t", "\n", ".", " . "])


@pytest.mark.parametrize("release", codes.RELEASES)
def test_each_release_holds_as_many_billable_codes_as_published(release):
    assert len(codes.billable_codes(release)) == OFFICIAL_COUNTS[release] + MIDYEAR.get(release, 0)


@given(billable, st.lists(blanks, min_size=8, max_size=8), st.booleans())
def test_spelling_does_not_matter(code, gaps, is_lower):
    text = "".join(gap + char for gap, char in zip(gaps, code, strict=False)) + gaps[-1]
    text = text.lower() if is_lower else text
    assert codes.normalise(text) == codes.normalise(codes.normalise(text)) == code
    assert codes.parse(text) == code
    assert codes.normalise(codes.dotted(text)) == code
    assert codes.path(text) == codes.path(code)


def test_only_ascii_letters_fold():
    assert not codes.exists("\u01311".replace("1", "10"))  # dotless i, upper case is I
    assert not codes.exists("\uff29\uff11\uff10")
    assert codes.normalise("\u0131") == "\u0131"


def test_validity_is_a_question_about_a_release():
    assert codes.is_billable("U07.1", 2021)
    assert not codes.exists("U07.1", 2019)
    assert codes.releases("U071") == (2020, 2021, 2022, 2023, 2024, 2025, 2026)
    assert codes.exists("M51.36", 2026)
    assert not codes.is_billable("M51.36", 2026)
    assert codes.is_billable("M51.36", 2024)
    assert codes.releases("nonsense") == codes.billable_releases("nonsense") == ()
    assert not codes.is_billable("I25")
    assert codes.exists("I25", 2016)


def test_titles_are_clean_and_complete():
    for code in codes.billable_codes():
        title = codes.title(code)
        assert title and title == " ".join(title.split())
    assert codes.title("I25.10").startswith(
        "Atherosclerotic heart disease of native coronary artery"
    )
    assert codes.title("I20-I25") == "Ischemic heart diseases"
    assert codes.title("T814XXA") == "Infection following a procedure, initial encounter"


def test_loads_within_40_megabytes():
    program = (
        "import resource, deepicd.codes as c; "
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; c.exists('I10'); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert int(done.stdout) < 40_000


@given(st.sampled_from(codes.billable_codes()), st.sampled_from(codes.RELEASES))
def test_a_code_is_billable_in_the_releases_that_it_names_and_exists_there(code, release):
    assert codes.is_billable(code, release) == (release in codes.billable_releases(code))
    assert codes.exists(code, release) == (release in codes.releases(code))
    assert set(codes.billable_releases(code)) <= set(codes.releases(code))
    assert (code in codes.billable_codes(release)) == codes.is_billable(code, release)


@given(st.text(max_size=20))
def test_normalising_and_dotting_undo_each_other(text):
    once = codes.normalise(text)
    assert codes.normalise(once) == once
    assert codes.normalise(codes.dotted(text)) == once
    assert codes.exists(text) == codes.exists(once) == codes.exists(codes.dotted(text))


@given(st.sampled_from(codes.billable_codes()))
def test_a_code_has_at_most_seven_characters_and_a_dot_after_the_third(code):
    assert 3 <= len(code) <= codes.MAX_LENGTH
    assert codes.dotted(code) == (code if len(code) == 3 else f"{code[:3]}.{code[3:]}")
    assert codes.chapter(code) in codes.CHAPTERS
