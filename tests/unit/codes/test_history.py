"""Retired codes, their successors, and what is advised instead of a refused code."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd import codes
from deepicd.errors import CodeError

RETIRED = [
    ("I481", 2019, ("I4811", "I4819")),
    ("N183", 2020, ("N1830", "N1831", "N1832")),
    ("R51", 2020, ("R510", "R519")),
    ("R05", 2021, ("R051", "R052", "R053", "R054", "R058", "R059")),
    ("G20", 2023, ("G20A1", "G20A2", "G20B1", "G20B2", "G20C")),
    ("M5136", 2024, ("M51360", "M51361", "M51362", "M51369")),
    ("K565", 2016, ("K5650", "K5651", "K5652")),
    ("S0262XA", 2016, ("S02620A", "S02621A", "S02622A")),
    ("T814XXA", 2016, ("T8140XA", "T8141XA", "T8142XA", "T8143XA", "T8144XA", "T8149XA")),
    ("T404X1A", 2020, ("T40411A", "T40421A", "T40491A")),
    ("H8141", 2019, ("H814",)),
    ("S060X2A", 2016, ()),
]


@pytest.mark.parametrize(("code", "last", "following"), RETIRED)
def test_retired_codes_name_their_successors(code, last, following):
    assert codes.billable_releases(code)[-1] == last
    assert codes.successors(code) == following
    assert not codes.is_billable(code, 2026)
    assert codes.is_billable(code)


def test_successors_are_billable_when_the_code_is_gone():
    rng = random.Random(0)
    retired = [c for c in codes.billable_codes() if not codes.is_billable(c, 2026)]
    assert len(retired) == 75_724 - 74_719
    for code in rng.sample(retired, 300):
        gone = codes.RELEASES[codes.RELEASES.index(codes.billable_releases(code)[-1]) + 1]
        assert all(codes.is_billable(after, gone) for after in codes.successors(code))
    assert codes.successors("I2510") == ()


@pytest.mark.parametrize(
    ("text", "release", "message"),
    [
        ("I25.99", None, r"any release: 'I25\.99'; near it: I25\.9$"),
        ("I25", None, "it is a header, use a code below it such as I25.10"),
        ("M51.36", 2026, "FY2026: 'M51.36' .billable in FY2016 to FY2024; now M51.360, M51.361"),
        ("I60.20", 2019, "billable in FY2016 to FY2016"),
        ("I10", 2018, "no table of fiscal year 2018; known: 2016, 2019"),
    ],
)
def test_parse_says_what_to_do_instead(text, release, message):
    with pytest.raises(CodeError, match=message):
        codes.parse(text, release)


def test_a_header_has_no_successors():
    with pytest.raises(CodeError, match=r"I25 is a header in every release"):
        codes.successors("I25")


@given(st.sampled_from(codes.billable_codes()))
def test_what_is_known_of_a_code_agrees_with_every_single_question(code):
    facts = codes.describe(codes.dotted(code).lower())
    assert (facts["code"], facts["title"]) == (codes.dotted(code), codes.title(code))
    assert facts["billable"] == codes.is_billable(code, codes.RELEASES[-1])
    assert facts["billable_in"] == list(codes.billable_releases(code))
    assert [codes.normalise(name) for name in facts["successors"]] == list(codes.successors(code))
    assert list(facts["path"].values()) == [codes.title(node) for node in codes.path(code)]


@given(st.sampled_from(codes.billable_codes()))
def test_no_code_follows_itself_and_what_follows_shares_its_category_or_parent(code):
    following = codes.successors(code)
    assert code not in following and list(following) == sorted(set(following))
    assert bool(following) <= (codes.billable_releases(code)[-1] < codes.RELEASES[-1])
    assert all(codes.chapter(after) == codes.chapter(code) for after in following)


@given(st.sampled_from(codes.billable_codes()), st.sampled_from(codes.RELEASES))
def test_a_code_is_parsed_exactly_where_it_is_billable(code, release):
    assert codes.parse(codes.dotted(code).lower()) == code
    if codes.is_billable(code, release):
        assert codes.parse(code, release) == code
    else:
        with pytest.raises(CodeError, match=f"not a billable ICD-10-CM code of FY{release}"):
            codes.parse(code, release)
