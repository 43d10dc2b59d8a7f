"""The verifier: each rule refuses what breaks it, by name, and what keeps to all passes."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_teacher import good_reply, note

from deepicd import answers, codes
from deepicd.config import TracesConfig
from deepicd.traces.grounding import note_spans, share_copied, share_distinct, unknown_numbers
from deepicd.traces.verifier import REASONS, Verifier, find_fault, parse_reply

ONE = note(0)  # I25.10
TITLE = codes.title("I2510")


def reply(think: str, code: str = "I25.10") -> str:
    return f"<think>{think}</think>\n<diagnosis>{code}</diagnosis>"


GOOD = (
    "Productive morning cough came first, and sudden blurred vision is told of as well. A swollen "
    "heart would explain both. Most likely this is coronary disease, I25.10."
)
BAD = {
    "does_not_parse": [
        "I cannot help with that.",
        "",
        GOOD,
        f"<think>{GOOD}",
        f"<think>{GOOD}</think>",
        f"<think>{GOOD}</think><diagnosis>I25.10</diagnosis><diagnosis>I25.10</diagnosis>",
        f"<think>{GOOD}</think><diagnosis>I25.10</diagnosis> I hope this helps.",
        reply(f"<b>{GOOD}</b>"),
        reply(GOOD, "I25"),
        reply(GOOD, "heart disease"),
    ],
    "other_code": [reply(GOOD, "I25.2"), reply(GOOD, "J18.9")],
    "too_short": [reply("Cough and vision.")],
    "too_long": [reply(" ".join(f"word{'a' * (n % 40)}{'b' * (n // 40)}" for n in range(500)))],
    "speaks_of_answer": [
        reply(f"The given code fits. {GOOD}"),
        reply(f"{GOOD} This agrees with the correct answer."),
        reply(f"I was told what it is. {GOOD}"),
        reply(f"As the answer is already known, I look for support. {GOOD}"),
        reply(f"The provided diagnosis needs reasons. {GOOD}"),
        reply(f"Knowing the code, I look back. {GOOD}"),
        reply(f"The title in the prompt is broad. {GOOD}"),
    ],
    "given_away": [
        reply(f"I25.10 comes to mind. {GOOD}"),
        reply(f"i2510 comes to mind. {GOOD}"),
        reply(f"{TITLE} comes to mind. {GOOD}"),
        reply(f"{TITLE.upper()} comes to mind. {GOOD}"),
        reply(f"Atherosclerotic disease of a native coronary artery, without angina. {GOOD}"),
        reply("I25.10 because of productive morning cough and sudden blurred vision, as it seems"),
    ],
    "repeated": [
        reply("Productive morning cough, sudden blurred vision. " * 12),
        reply("Productive morning cough came first, and sudden blurred vision is told of as well. "
              f"{GOOD}"),
    ],
    "copied": [reply(ONE.text.split("ILLNESS: ")[1].split("\n")[0])],
    "unknown_number": [
        reply(f"With a temperature of 39.4 degrees there is fever. {GOOD}"),
        reply(f"For 12 weeks there was cough. {GOOD}"),
    ],
    "not_grounded": [
        reply("The patient has typical symptoms and a classical course of illness, so the most "
              "common cause is likely."),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "bad"), [(reason, bad) for reason, each in BAD.items() for bad in each]
)
def test_a_reply_that_breaks_a_rule_is_refused_by_its_name(reason: str, bad: str) -> None:
    assert Verifier(TracesConfig()).check(bad, ONE) == (reason, "")


def test_every_reason_has_a_planted_reply() -> None:
    assert {*BAD, "near_duplicate"} == set(REASONS)


@pytest.mark.parametrize(
    "think",
    [
        GOOD,
        GOOD.replace("coronary disease", TITLE),
        f"Known hypertension of old, and her known diagnosis of gout given earlier. {GOOD}",
        f"Temperature 37.50 is normal. {GOOD}",
    ],
)
def test_what_keeps_to_the_rules_passes(think: str) -> None:
    reason, response = Verifier(TracesConfig()).check(reply(think), ONE)
    assert reason == ""
    assert response == f"{think}</think>\n<diagnosis>I25.10</diagnosis>"


def test_a_reply_may_begin_behind_the_think_tag() -> None:
    verifier = Verifier(TracesConfig())
    behind = reply(GOOD).removeprefix("<think>")
    assert verifier.check(behind, ONE)[1] == f"{GOOD}</think>\n<diagnosis>I25.10</diagnosis>"


def test_a_title_that_the_note_states_is_a_finding() -> None:
    short = codes.title("R0600").lower().removesuffix(", unspecified")
    stated = replace(ONE, code="R0600", text=f"{ONE.text}, {short}")
    said = reply(
        f"There is {short} with productive morning cough. Then came sudden blurred vision in the "
        "morning. So the lung is the place to look at.",
        "R06.00",
    )
    check = Verifier(TracesConfig()).check
    assert check(said, stated)[0] == ""
    assert check(said, replace(ONE, code="R0600"))[0] == "given_away"


def test_a_near_duplicate_of_an_accepted_trace_is_refused_and_of_a_refused_one_is_not() -> None:
    verifier = Verifier(TracesConfig())
    assert verifier.check(reply(GOOD, "J18.9"), ONE)[0] == "other_code"
    assert verifier.check(reply(GOOD), ONE)[0] == ""
    assert verifier.check(reply(GOOD.upper()), ONE)[0] == "near_duplicate"
    assert verifier.check(reply(GOOD), ONE)[0] == "near_duplicate"


def test_what_was_accepted_earlier_is_remembered() -> None:
    verifier = Verifier(TracesConfig())
    verifier.remember(f"{GOOD}</think>\n<diagnosis>I25.10</diagnosis>")
    assert verifier.check(reply(GOOD), ONE)[0] == "near_duplicate"


def test_good_replies_to_many_notes_pass() -> None:
    verifier = Verifier(TracesConfig())
    assert {verifier.check(good_reply(note(n)), note(n))[0] for n in range(60)} == {""}


TEXT = st.text(alphabet="ab cd.<>/\n25I1", max_size=120)


@given(TEXT)
def test_no_text_raises_and_what_passes_parses_and_answers_the_code(text: str) -> None:
    for each in (text, reply(text)):
        reason, response = Verifier(TracesConfig(min_words=1, min_spans=0)).check(each, ONE)
        assert bool(reason) != bool(response)
        if response:
            read = answers.parse_answer(response, is_prefilled=True)
            assert (read.code, read.faults) == ("I2510", ())


@given(st.integers(min_value=0, max_value=120))
def test_a_code_put_anywhere_before_the_end_is_given_away(place: int) -> None:
    words = GOOD.removesuffix(", I25.10.").split()
    before = words[: place % 20]
    planted = " ".join([*before, "I25.10", *words[len(before) :]])
    assert find_fault(parse_reply(reply(planted)), ONE, TracesConfig()) == "given_away"


@given(st.integers(min_value=0, max_value=10**6), st.integers(min_value=0, max_value=99))
def test_a_number_is_known_exactly_when_a_source_has_its_value(whole: int, part: int) -> None:
    written = f"{whole:,}.{part:02d}"
    assert unknown_numbers(f"about {written} units", [f"was {whole}.{part:02d}0 then"]) == set()
    assert unknown_numbers(f"about {written} units", [f"was {whole + 1}.{part:02d} then"])


WORDS = st.lists(
    st.sampled_from(["fever", "chills", "cough", "rash", "tremor", "cyst", "the", "and"]),
    max_size=30,
)


@given(WORDS, WORDS)
def test_shares_lie_in_their_range_and_a_note_is_all_copied_from_itself(
    said: list[str], known: list[str]
) -> None:
    text, source = " ".join(said), " ".join(known)
    assert 0.0 <= share_copied(text, source) <= 1.0 and 0.0 <= share_distinct(text) <= 1.0
    assert share_copied(source, source) == (1.0 if len(known) >= 8 else 0.0)
    for span in note_spans(text, source):
        assert all(word in known for word in span.split())


@given(WORDS)
def test_spans_are_those_of_the_note_alone(said: list[str]) -> None:
    assert note_spans(" ".join(said), "nothing of it") == set()
    text = " ".join(said)
    assert bool(note_spans(text, text)) == bool(
        re.search(r"fever|chills|cough|rash|trem|cyst", text)
    )
