"""One pattern that matches exactly the codes it is made of."""

import re

from hypothesis import given
from hypothesis import strategies as st

from deepicd import codes


def test_the_pattern_of_billable_codes_matches_each_of_them_and_is_short():
    found = re.compile(codes.billable_pattern())
    assert len(found.pattern) < 60_000
    assert all(found.fullmatch(codes.dotted(code)) for code in codes.billable_codes())
    for other in ("I25", "I25.1", "I2510", "A00.00", "Z99.999", "", "I25.10 "):
        assert not found.fullmatch(other)
    assert not re.fullmatch(codes.billable_pattern(2026), "F32.8")  # retired: split in FY2017


@given(st.sets(st.text("AB1.", min_size=1, max_size=4)), st.text("AB1.", max_size=5))
def test_a_pattern_matches_its_words_and_nothing_else(words, other):
    found = re.compile(codes.pattern(words)) if words else re.compile(r"(?!)")
    assert all(found.fullmatch(word) for word in words)
    assert bool(found.fullmatch(other)) == (other in words)


@given(st.sets(st.text("ABC01.", min_size=1, max_size=5), min_size=1, max_size=30))
def test_a_pattern_matches_exactly_its_words_and_does_not_depend_on_their_order(words):
    pattern = codes.pattern(sorted(words))
    assert pattern == codes.pattern(sorted(words, reverse=True))
    for word in words:
        assert re.fullmatch(pattern, word)
        for other in (word[:-1], word + "0", word.lower() + "x"):
            assert bool(re.fullmatch(pattern, other)) == (other in words)


# A pattern takes about a second to build and four are kept: three releases are enough to differ.
@given(
    st.sampled_from(codes.billable_codes()),
    st.sampled_from((codes.RELEASES[0], 2021, codes.RELEASES[-1])),
)
def test_the_pattern_of_a_release_matches_what_is_billable_in_it(code, release):
    matches = re.fullmatch(codes.billable_pattern(release), codes.dotted(code))
    assert bool(matches) == codes.is_billable(code, release)
