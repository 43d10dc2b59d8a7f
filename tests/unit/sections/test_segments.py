"""A note of any layout in pieces, each with its section."""

from random import Random

from composed_notes import compose
from hypothesis import given
from hypothesis import strategies as st

from deepicd.sections import clean_text, split_sections


@given(st.text() | st.integers(0, 2**32).map(lambda seed: compose(Random(seed)).text))
def test_the_pieces_of_a_note_are_the_note_without_what_nobody_sees(text: str) -> None:
    assert "".join(segment.text for segment in split_sections(text)) == clean_text(text)


@given(st.integers(0, 2**32))
def test_a_composed_note_has_its_sections_and_nothing_of_the_stay_in_them(seed: int) -> None:
    note = compose(Random(seed))
    words: dict[str, str] = {}
    for segment in split_sections(note.text):
        words[segment.section] = words.get(segment.section, "") + segment.text
    for section, text in note.wanted.items():
        assert text.split()[-1] in words[section], section  # each text ends in a word of its own
    kept = "".join(text for section, text in words.items() if section)
    assert "stay" not in kept.replace("a former stay", "")


def test_the_header_of_a_piece_is_what_opens_it() -> None:
    segments = split_sections("HPI: fell\n1. on ice\nPast Med Hx\nHTN\n")
    assert [(segment.section, segment.header) for segment in segments] == [
        ("PRESENT ILLNESS", "HPI:"),
        ("MEDICAL HISTORY", "Past Med Hx"),
    ]


def test_a_line_of_a_rendered_note_is_one_section_whatever_it_says() -> None:
    note = "PRESENT ILLNESS: fell. Labs: Na 120. Hospital Course: no\nALLERGIES: none"
    assert [segment.section for segment in split_sections(note)] == ["PRESENT ILLNESS", "ALLERGIES"]
