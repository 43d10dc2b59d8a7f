"""Looks that give a line up early: they say no more than the full look would."""

from random import Random

import pytest
from composed_notes import compose
from hypothesis import given
from hypothesis import strategies as st

from deepicd.sections import (
    find_headed,
    find_late_lines,
    is_plain,
    load_lexicon,
    read_inside,
    read_start,
    split_lines,
)
from deepicd.sections.header_match import has_late
from deepicd.sections.lexicon import FOREIGN, FREEING, correct, fit_word, unglue

PHRASES = [
    (words, meanings) for listed in load_lexicon().phrases.values() for words, meanings in listed
]
LINES = st.integers(0, 2**32).flatmap(
    lambda seed: st.sampled_from(split_lines(compose(Random(seed)).text)[1] or [""])
)


def test_a_header_may_hold_every_word_of_the_table() -> None:
    assert not [word for words, _ in PHRASES for word in words if fit_word(word) == FOREIGN]


def test_every_phrase_that_names_a_source_has_a_word_that_frees_others() -> None:
    sources = [words for words, meanings in PHRASES if meanings[0].role == "source"]
    assert sources
    assert all(FREEING in map(fit_word, words) for words in sources)


@given(LINES | st.text(" abcDE:.(/-1", max_size=80))
def test_a_plain_line_has_no_header(line: str) -> None:
    if is_plain(line, may_be_late=has_late(line)):
        assert (read_start(line).match, read_start(line).phrase) == (None, None)
        assert not read_inside(line, 0)


@given(st.lists(LINES | st.text(" abcDE:?.(/-1\t", max_size=80), max_size=8))
def test_the_look_for_lines_with_headers_leaves_out_blank_and_plain_ones(lines: list[str]) -> None:
    late = find_late_lines(lines)
    others = [n for n, line in enumerate(lines) if line.strip() and not is_plain(line, n in late)]
    assert find_headed(lines, late) == others


@given(st.lists(LINES | st.text(" dcDC/.ischargeİ", max_size=20), max_size=8))
def test_the_look_at_all_lines_finds_each_that_has_a_late_word(lines: list[str]) -> None:
    late = {number for number, line in enumerate(lines) if has_late(line)}
    assert late <= find_late_lines(lines)


@pytest.mark.parametrize("header", ["HPI", "2. PMH", "**Discharge Exam**", "Quux Zorble", "Na"])
@pytest.mark.parametrize("sign", [":", " :", ":-"])
def test_what_stands_behind_a_caption_changes_nothing_of_it(header: str, sign: str) -> None:
    found = [read_start(f"{header}{sign} {said}") for said in ("x", "fell twice", "98.6 by cuff")]
    assert len({start.match or start.phrase for start in found}) == 1


@pytest.mark.parametrize(
    ("word", "read"),
    [
        ("dischrage", "discharge"),
        ("exmination", "examination"),
        ("imagingg", "imaging"),
        ("internal", ""),
        ("exam", ""),
        ("xylophone", ""),
    ],
)
def test_one_slip_in_a_long_word_is_understood(word: str, read: str) -> None:
    assert correct(word) == read


@pytest.mark.parametrize(
    ("word", "read"),
    [
        ("dischargeexam", ("discharge", "exam")),
        ("dischargephysicalexam", ("discharge", "physical", "exam")),
        ("coursework", ()),
        ("exam", ()),
    ],
)
def test_words_that_lost_their_blanks_are_taken_apart(word: str, read: tuple[str, ...]) -> None:
    assert unglue(word) == read
