"""A text that is no code: what may be meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd import codes
from deepicd.codes.near import find_node, near_codes
from deepicd.errors import CodeError

SEVENTH = [code for code in codes.billable_codes() if len(code) == 7]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("W21.89A", "W2189XA"),
        ("w2189a", "W2189XA"),
        ("T07.XXXXD", "T07XXXD"),
        ("T07XD", "T07XXXD"),
        ("S02.62A", "S0262XA"),
        ("V00.01", "V0001XA"),
        ("I25.1O", "I2510"),
        ("J1O", "J10"),
        ("I25.109", "I2510"),
        ("M51.169", "M5116"),
        ("I25,10", "I2510"),
        ("I25-10", "I2510"),
        ("125.10", "I2510"),
        ("l25.10", "I2510"),
        ("009.00", "O0900"),
        ("I025.10", "I2510"),
        ("0I25.10", "I2510"),
        ("I52.10", "I2510"),
        ("I10.XX", "I10"),
        ("S06.0X1Z", "S060X1A"),
        ("M80.08X", "M8008XA"),
        ("T14.90A", "T1490XA"),
        ("W21.89XAA", "W2189XA"),
        ("T07XXXXXXXXXA", "T07XXXA"),
        ("ICD-10: I25.10", "I2510"),
        ("I25.10 (CAD)", "I2510"),
        ("principal: S72.001A, then I25.10", "S72001A"),
    ],
)
def test_the_likeliest_code_comes_first(text, first):
    if not codes.exists(text):
        assert near_codes(text)[0] == first
    with pytest.raises(CodeError, match=codes.dotted(first).replace(".", r"\.")):
        codes.parse(text)


@given(st.sampled_from(SEVENTH), st.integers(0, 3))
def test_a_seventh_character_with_a_wrong_number_of_placeholders_is_found(code, num_placeholders):
    if "X" not in code[3:6]:
        return
    stem = code[:3] + code[3:6].replace("X", "")
    text = stem + "X" * num_placeholders + code[6]
    assert codes.exists(text) or near_codes(text)[0] == code


@given(st.text())
def test_what_is_near_exists_and_any_text_may_be_asked_for(text):
    assert all(codes.title(node) for node in near_codes(text))
    assert find_node(text) is None or codes.title(find_node(text) or "")


@pytest.mark.parametrize(
    "text", ["", "pain", "I", "12345", "A" * 1000, "I25.10 " * 20, "<b>", "\u0130"]
)
def test_a_text_that_is_like_no_code_has_nothing_near(text):
    assert near_codes(text) == ()


def test_a_range_is_a_block_or_a_whole_chapter():
    nodes = ["I20-I25", "b20-b20", "A00-B99", "O00-O9A", "S00-T88", "V00-Y99", "M50\N{EN DASH}M54"]
    assert [find_node(text) for text in nodes] == [
        *("I20-I25", "B20-B20", "I", "XV", "XIX", "XX", "M50-M54")
    ]
    assert find_node("A00-B98") is None and find_node("A00-B99-C00") is None


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("M50 - M54", "M50-M54"),
        ("M50\N{EM DASH}M54", "M50-M54"),
        ("M50 to M54", "M50-M54"),
        ("m50-54", "M50-M54"),
        ("A00..B99", "I"),
        ("block I20-I25", "I20-I25"),
        ("chapter IX", "IX"),
        ("Chapter 9", "IX"),
        ("22", "XXII"),
        ("I25.-", "I25"),
        ("I25.1-", "I251"),
        ("I25\u200b.10", "I2510"),
        ("\uff29\uff12\uff15", "I25"),
        ("0", None),
        ("23", None),
        ("9999999999", None),
        ("chapter", None),
    ],
)
def test_other_notations_name_the_same_node(text, node):
    assert find_node(text) == node


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("C00-D48", ("C00-C14", "D37-D48", "II")),  # the World Health Organization's chapter II
        ("Z80-Z87", ("Z77-Z99", "XXI")),
        ("S00-T98", ("S00-S09", "XIX")),
        ("T36 to T51", ("T36-T50", "T51-T65", "XIX")),
    ],
)
def test_a_range_that_is_none_is_near_its_blocks_and_its_chapter(text, near):
    assert near_codes(text) == near
    with pytest.raises(CodeError, match=f"near it: {', '.join(near)}$"):
        codes.describe(text)


def test_every_chapter_is_found_by_its_range():
    for chapter in codes.CHAPTERS:
        blocks = codes.children(chapter)
        first, last = min(blocks)[:3], max(name[-3:] for name in blocks)
        # A chapter of one block has the block's range, which names the block.
        wanted = chapter if len(blocks) > 1 else blocks[0]
        assert find_node(f"{first}-{last}") == wanted
        assert codes.describe(f"{first}-{last}")["node"] == wanted


def test_a_refusal_names_what_is_near():
    with pytest.raises(CodeError, match=r"'W21\.89A'; near it: W21\.89XA, "):
        codes.describe("W21.89A")
    with pytest.raises(CodeError, match=r"'pain'; give a code such as I25\.10"):
        codes.describe("pain")
