"""Identifiers of notes, patients and admissions: what is one, and what is refused."""

import math
import re
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd.identifiers import INVISIBLE, MAX_LENGTH, parse_id

SECRET = "SECRETWORDS"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (20001, "20001"),
        (" 20001 ", "20001"),
        ("10000032-DS-21", "10000032-DS-21"),
        ("12e4", "12e4"),
        ("1.2.840.113619", "1.2.840.113619"),
        ("Ä 7", "Ä 7"),
        (0, "0"),
        (-3, "-3"),
        ("-1", "-1"),
        ("p1\u200b", "p1"),
        ("\ufeff7", "7"),
        ("患者七", "患者七"),
    ],
)
def test_text_of_one_line_and_whole_numbers_are_ids(value, text):
    assert parse_id(value) == text


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (None, "it is null"),
        (math.nan, "it is a fraction or NaN"),
        (20001.0, "it is a fraction or NaN"),
        (True, "it is true or false"),
        ([SECRET], "it is of type list"),
        ({SECRET: 1}, "it is of type dict"),
        (b"1", "it is of type bytes"),
        *(
            (word, "it is nothing or a word for it")
            for word in (
                *(
                    "",
                    "unknown",
                    "-",
                    "?",
                    "nil",
                    "-nan",
                    "+nan",
                    "1.#IND",
                    "___",
                    "\u200b",
                    "#N/A",
                ),
                *("#REF!", r"\N", "(null)", ".", "Missing", "--", "\ufeff", "\u2013"),
            )
        ),
        ("caf\ufffd", "it is broken: a letter of it was lost, because its file is not UTF-8"),
        ("  ", "it is nothing or a word for it"),
        ("NaN", "it is nothing or a word for it"),
        ("<NA>", "it is nothing or a word for it"),
        ("20001.0", "it is written as a fraction"),
        ("-.5", "it is written as a fraction"),
        ("1.0E7", "it is written as a fraction"),
        ("1e+07", "it is written as a fraction"),
        (f"1\n{SECRET}", "it is of several lines"),
        ("1\x002", "it is of several lines"),
        ("1\u20282", "it is of several lines"),
        ("1\ud800", "it is no text"),
        (SECRET * 20, f"it is longer than {MAX_LENGTH} characters"),
        (10**200, f"it is longer than {MAX_LENGTH} characters"),
    ],
)
def test_what_is_no_id_is_refused_by_its_kind_and_not_repeated(value, what):
    with pytest.raises(ValueError, match=f"must be text or a whole number; {what}") as refused:
        parse_id(value)
    assert SECRET not in str(refused.value)


@given(st.integers(-(10**20), 10**20))
def test_a_whole_number_and_its_text_are_one_id(number):
    assert parse_id(number) == parse_id(str(number)) == parse_id(f" {number}")


@given(st.floats() | st.floats().map(repr).filter(lambda text: "." in text or "n" in text))
def test_no_floating_point_number_is_an_id(value):
    with pytest.raises(ValueError, match="must be text or a whole number"):
        parse_id(value)


@given(st.text(max_size=200))
def test_an_id_is_taken_once_and_for_all(text):
    try:
        once = parse_id(text)
    except ValueError:
        return
    assert parse_id(once) == once
    assert once == normalize("NFC", re.sub(INVISIBLE, "", text)).strip()


def test_an_accent_that_is_a_letter_of_its_own_makes_no_other_patient():
    assert parse_id("Ren\u00e9") == parse_id("Rene\u0301")
