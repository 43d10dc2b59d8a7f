"""Model text → code, or the named reason why not."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deepicd import codes
from deepicd.answers import CODE_FAULTS, FATAL_FAULTS, FAULTS, parse_answer
from deepicd.errors import CodeError
from deepicd.prompts import response_text

GOOD = "chest pain</think>\n<diagnosis>I25.10</diagnosis>"

TABLE = [
    # text after the prefilled <think>, code, reason, faults
    (GOOD, "I2510", None, ()),
    ("x</think><diagnosis> i25.10\n</diagnosis>\n", "I2510", None, ()),
    ("a < b and <b>bold</b></think><diagnosis>I10</diagnosis>", "I10", None, ()),
    ("", None, "empty", ("empty",)),
    (" \n", None, "empty", ("empty",)),
    ("chest pain", None, "truncated", ("truncated", "no_diagnosis", "missing_think")),
    ("x</think>\n<diagnosis>I25.", None, "truncated", ("truncated", "no_diagnosis")),
    ("x</think>\n<diagno", None, "no_diagnosis", ("no_diagnosis", "text_outside")),
    ("x</think>", None, "no_diagnosis", ("no_diagnosis",)),
    (
        "x</think><diagnosis>I10</diagnosis><diagnosis>I10</diagnosis>",
        *(None, "several_diagnoses", ("several_diagnoses",)),
    ),
    (
        "x</think><diagnosis><diagnosis>I10</diagnosis></diagnosis>",
        *(None, "nested_diagnosis", ("nested_diagnosis", "stray_tag", "text_outside")),
    ),
    (
        "it is <diagnosis>I10</diagnosis> so</think><diagnosis>I10</diagnosis>",
        *(None, "nested_diagnosis", ("nested_diagnosis", "stray_tag")),
    ),
    (
        "x <diagnosis>I10</diagnosis>",
        *(
            None,
            "truncated",
            ("truncated", "no_diagnosis", "nested_diagnosis", "stray_tag", "missing_think"),
        ),
    ),
    (
        "x</think><diagnosis>I10<think>y</think></diagnosis>",
        *(None, "unclosed_diagnosis", ("unclosed_diagnosis", "stray_tag")),
    ),
    ("x</think><diagnosis>heart</diagnosis>", None, "not_a_code", ("not_a_code",)),
    ("x</think><diagnosis></diagnosis>", None, "not_a_code", ("not_a_code",)),
    ("x</think><diagnosis>I10, I11.0</diagnosis>", None, "not_a_code", ("not_a_code",)),
    ("x</think><diagnosis>\uff29\uff11\uff10</diagnosis>", None, "not_a_code", ("not_a_code",)),
    ("x</think><diagnosis>25010</diagnosis>", None, "not_a_code", ("not_a_code",)),
    ("x</think><diagnosis>" + " " * 40 + "I10</diagnosis>", None, "not_a_code", ("not_a_code",)),
    ("x</think><diagnosis>I25.99</diagnosis>", None, "unknown_code", ("unknown_code",)),
    ("x</think><diagnosis>I25</diagnosis>", None, "not_billable", ("not_billable",)),
    ("</think><diagnosis>I10</diagnosis>", "I10", None, ("empty_think",)),
    ("x</think>so <diagnosis>I10</diagnosis>", "I10", None, ("text_outside",)),
    ("x</think><diagnosis>I10</diagnosis>!", "I10", None, ("text_outside",)),
    ("x</think></think><diagnosis>I10</diagnosis>", "I10", None, ("stray_tag", "text_outside")),
    ("x<think>y</think><diagnosis>I10</diagnosis>", "I10", None, ("nested_think",)),
    ("x</think><think>y</think><diagnosis>I10</diagnosis>", "I10", None, ("several_thinks",)),
]

PIECES = st.sampled_from(
    [
        *("<think>", "</think>", "<diagnosis>", "</diagnosis>", "<", ">", "</", "<diag", " ", "\n"),
        *("I25.10", "i10", "I25", "Z99.999", "pain", "\u0000", "\u0130", "💥", "<|im_end|>"),
    ]
)
hostile = st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=30).map("".join))


@pytest.mark.parametrize(("text", "code", "reason", "faults"), TABLE)
def test_every_shape_has_its_named_reason(text, code, reason, faults):
    answer = parse_answer(text)
    assert (answer.code, answer.reason, answer.faults) == (code, reason, faults)


def test_the_table_shows_every_fault():
    seen = {fault for *_, faults in TABLE for fault in faults}
    assert seen == set(FAULTS)


def test_order_of_the_blocks_matters_without_a_prefill():
    text = "<diagnosis>I10</diagnosis><think>x</think>"
    assert parse_answer(text, is_prefilled=False).faults == ("missing_think",)
    alone = parse_answer("<diagnosis>I10</diagnosis>", is_prefilled=False)
    assert (alone.code, alone.think, alone.faults) == ("I10", "", ("missing_think",))


def test_prefilled_and_whole_texts_read_the_same():
    assert parse_answer("<think>" + GOOD, is_prefilled=False) == parse_answer(GOOD)
    assert parse_answer(GOOD).text == "<think>" + GOOD
    assert parse_answer(GOOD).think == "chest pain"


def test_the_raw_code_is_kept_beside_a_reason():
    assert parse_answer("x</think><diagnosis>i25.99</diagnosis>").raw_code == "I2599"
    assert parse_answer("x</think>").raw_code is None
    assert len(parse_answer("x</think><diagnosis>" + "A" * 10**6 + "</diagnosis>").raw_code) == 32


def test_a_code_is_judged_by_the_release_asked_for():
    text = "x</think><diagnosis>M51.36</diagnosis>"
    assert parse_answer(text, release=2024).code == "M5136"
    assert parse_answer(text, release=2026).reason == "not_billable"
    assert parse_answer(text.replace("M51.36", "U07.1"), release=2019).reason == "unknown_code"
    with pytest.raises(CodeError, match="no table of fiscal year 1999"):
        parse_answer(text, release=1999)


@given(st.sampled_from(codes.billable_codes()), st.booleans(), st.booleans())
def test_every_billable_code_is_read_in_any_spelling(code, is_dotted, is_lower):
    text = codes.dotted(code) if is_dotted else code
    text = text.lower() if is_lower else text
    assert parse_answer(f"x</think><diagnosis>{text}</diagnosis>").code == code


@given(hostile, st.booleans())
@example("<think>" * 9 + "<diagnosis>" * 9, True)
@example("</think>" + "<diagnosis>I10</diagnosis>" * 40, True)
def test_any_text_gives_a_consistent_answer(text, is_prefilled):
    answer = parse_answer(text, is_prefilled=is_prefilled)
    assert (answer.code is None) == (answer.reason is not None)
    assert list(answer.faults) == sorted(answer.faults, key=FAULTS.index)
    fatal = [fault for fault in answer.faults if fault in FATAL_FAULTS]
    assert answer.reason == (fatal[0] if fatal else None)
    assert answer.code is None or codes.is_billable(answer.code)
    assert answer == parse_answer(text, is_prefilled=is_prefilled)
    assert CODE_FAULTS < FATAL_FAULTS < set(FAULTS)


@pytest.mark.parametrize("diagnoses", [1, 2, 8, 9, 1000])
def test_more_tags_than_are_looked_at_never_make_a_usable_code(diagnoses):
    text = "x</think>" + "<diagnosis>I10</diagnosis>" * diagnoses
    assert (parse_answer(text).code is None) == (diagnoses > 1)
    spam = "<think>x</think>" * diagnoses + "<diagnosis>I10</diagnosis>"
    assert parse_answer("x</think>" + spam).faults[0] == "several_thinks"


@pytest.mark.parametrize(
    "piece",
    [
        "<",
        "<diagnosis>",
        "<think>",
        "<diagnosi",
        "</diagnosis",
        " ",
        "<thin<think></think",
        "\u0130",
    ],
)
def test_a_megabyte_of_hostile_text_is_read_without_a_usable_code(piece):
    text = piece * (1_000_000 // len(piece))
    assert parse_answer(text).code is None
    assert parse_answer(f"x</think><diagnosis>{text}</diagnosis>").code is None


reasoning = st.text(max_size=80).map(lambda text: text.replace("<", "").strip()).filter(len)


@given(reasoning, st.sampled_from(codes.billable_codes()))
def test_a_supervised_response_is_read_without_a_fault(think, code):
    answer = parse_answer(response_text(think, codes.dotted(code)))
    assert (answer.code, answer.reason, answer.faults) == (code, None, ())
    assert answer.think == think
    assert answer.raw_code == code


@given(hostile)
def test_a_whole_text_and_its_prefilled_rest_give_the_same_answer(text):
    whole = parse_answer("<think>" + text, is_prefilled=False)
    assert whole == parse_answer(text) or not text.strip()


@given(reasoning, st.sampled_from(codes.billable_codes()), reasoning)
def test_text_around_the_blocks_is_a_fault_of_form_and_changes_no_code(think, code, outside):
    blocks = (f"{think}</think>", f"<diagnosis>{codes.dotted(code)}</diagnosis>")
    for text in (f"{blocks[0]}{outside}{blocks[1]}", f"{blocks[0]}{blocks[1]}{outside}"):
        answer = parse_answer(text)
        assert (answer.code, answer.faults) == (code, ("text_outside",))


@given(reasoning, st.sampled_from(codes.billable_codes()), st.sampled_from(codes.RELEASES))
def test_a_code_is_usable_in_exactly_the_releases_in_which_it_is_billable(think, code, release):
    answer = parse_answer(response_text(think, codes.dotted(code)), release=release)
    assert (answer.code == code) == codes.is_billable(code, release)
    if answer.code is None:
        exists = codes.exists(code, release)
        assert answer.reason == ("not_billable" if exists else "unknown_code")


@given(reasoning, st.lists(st.sampled_from(codes.billable_codes()), min_size=2, max_size=4))
def test_several_diagnoses_are_no_answer_even_when_they_agree(think, named):
    text = f"{think}</think>" + "".join(f"<diagnosis>{code}</diagnosis>" for code in named)
    assert parse_answer(text).reason == "several_diagnoses"
    same = f"{think}</think>" + f"<diagnosis>{named[0]}</diagnosis>" * 2
    assert parse_answer(same).code is None


@pytest.mark.parametrize("cut", range(1, len("x</think><diagnosis>I10</diagnosis>")))
def test_a_response_that_is_cut_off_anywhere_is_no_answer(cut):
    text = "x</think><diagnosis>I10</diagnosis>"[:cut]
    answer = parse_answer(text)
    assert answer.code is None and answer.reason in ("truncated", "no_diagnosis")
