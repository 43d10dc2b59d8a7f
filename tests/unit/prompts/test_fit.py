"""Over-long notes: what stays, and that the limit holds whatever the note says."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from deepicd.prompts import SECTION_PRIORITY, PromptEncoder, encode, fit_note, prompt_token_ids
from deepicd.prompts.render import render_prompt

NOTE = """\
CHIEF COMPLAINT: chest pain
PRESENT ILLNESS: Pain on effort since two weeks.
MEDICAL HISTORY: hypertension, diabetes
MEDICATION ON ADMISSION: aspirin, metformin
PHYSICAL EXAM: no murmur, lungs clear
FAMILY HISTORY: father with infarction
SOCIAL HISTORY: lives with wife, smokes"""


def count_words(texts):
    """One token a word."""
    return [len(text.split()) for text in texts]


def fitted(max_tokens, text=NOTE):
    return fit_note(text, count_words, max_tokens)


def test_a_note_that_fits_keeps_every_line():
    assert fitted(1000) == NOTE


def test_the_least_important_sections_go_first_and_the_order_of_the_note_stays():
    assert (
        fitted(26)
        == """\
CHIEF COMPLAINT: chest pain
PRESENT ILLNESS: Pain on effort since two weeks.
MEDICAL HISTORY: hypertension, diabetes
MEDICATION ON ADMISSION: aspirin,
PHYSICAL EXAM: no murmur, lungs clear"""
    )


def test_a_section_is_cut_from_its_end_and_a_header_alone_is_dropped():
    assert fitted(8) == "CHIEF COMPLAINT: chest pain\nPRESENT ILLNESS: Pain on"
    assert fitted(6) == "CHIEF COMPLAINT: chest pain"
    assert fitted(5) == "CHIEF COMPLAINT: chest pain"  # not the half of a header


HOSPITAL_HISTORY = "HPI: pain since two weeks\nPMH:\n1. HTN\n2. DM"
HOSPITAL_NOTE = f"""\
{HOSPITAL_HISTORY}

Soc Hx: lives with wife
Labs: Na 120
PE: lungs clear
Fam Hx: none"""


@pytest.mark.parametrize(
    ("max_tokens", "kept"),
    [
        (16, f"{HOSPITAL_HISTORY}\nLabs: Na 120\nPE: lungs clear"),
        (13, f"{HOSPITAL_HISTORY}\nPE: lungs clear"),
        (6, "HPI: pain since two weeks"),
    ],
)  # fmt: skip
def test_a_hospitals_own_headers_are_as_important_as_the_ones_they_mean(max_tokens, kept):
    assert fitted(max_tokens, HOSPITAL_NOTE) == kept


def test_text_under_no_header_keeps_its_beginning():
    assert fitted(3, "one two three four five") == "one two three"


def test_nothing_is_left_when_nothing_fits():
    assert fitted(0) == "" and fitted(5, "") == ""


sections = st.lists(
    st.tuples(
        st.sampled_from([name for name in SECTION_PRIORITY if name]),
        st.lists(st.sampled_from(["pain", "fever", "12", "mg", "left,"]), min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=9,
    unique_by=lambda section: section[0],
)


def write_note(sections):
    return "\n".join(f"{name}: {' '.join(words)}" for name, words in sections)


def num_words(text):
    return len(text.split())


@given(sections, st.integers(0, 80))
def test_a_larger_budget_never_keeps_fewer_words(sections, budget):
    note = write_note(sections)
    shorter, longer = fitted(budget, note), fitted(budget + 1, note)
    assert num_words(shorter) <= num_words(longer) <= budget + 1
    assert fitted(num_words(note), note) == note


@given(sections, st.integers(1, 80))
def test_what_stays_is_the_beginning_of_each_section_in_the_order_of_the_note(sections, budget):
    note = write_note(sections)
    wholes = {line.partition(":")[0]: line for line in note.splitlines()}
    kept = fitted(budget, note).splitlines()
    names = [line.partition(":")[0] for line in kept]
    assert names == [name for name in wholes if name in names]
    assert all(wholes[name].startswith(line) for name, line in zip(names, kept, strict=True))


@given(sections, st.integers(1, 80))
def test_a_section_is_cut_only_when_all_less_important_ones_are_gone(sections, budget):
    note = write_note(sections)
    kept = {line.partition(":")[0]: line for line in fitted(budget, note).splitlines()}
    ranked = sorted(sections, key=lambda section: SECTION_PRIORITY.index(section[0]))
    is_cut = [kept.get(name) != f"{name}: {' '.join(words)}" for name, words in ranked]
    first = is_cut.index(True) if True in is_cut else len(ranked)
    assert all(name not in kept for name, _ in ranked[first + 1 :])


@given(sections, st.integers(1, 80))
def test_fitting_what_fits_changes_nothing(sections, budget):
    once = fitted(budget, write_note(sections))
    assert fitted(budget, once) == once


words = st.text(alphabet="ab ,.\n:|<>é", max_size=12)
lines = st.tuples(st.sampled_from([*SECTION_PRIORITY, "OTHER"]), words).map(
    lambda pair: f"{pair[0]}: {pair[1]}"
)


@pytest.fixture(scope="module")
def backend(learn_tokeniser):
    return learn_tokeniser([render_prompt(NOTE)]).to_str()


@given(note=st.lists(lines, max_size=12).map("\n".join), room=st.integers(1, 60))
def test_a_prompt_is_never_longer_than_the_limit_and_its_words_are_the_notes(backend, note, room):
    whole = PromptEncoder(backend, 10_000)
    limit = whole.count_overhead() + room
    (prompt,) = PromptEncoder(backend, limit).encode([note])
    (uncut,) = whole.encode([note])
    assert prompt.num_tokens == uncut.num_tokens
    if uncut.num_tokens <= limit:
        assert prompt == uncut
    elif prompt.token_ids is not None:
        assert len(prompt.token_ids) <= limit and prompt.is_cut
        assert set(prompt.text.split()) <= set(note.split())
        assert prompt.token_ids == whole.encode([prompt.text])[0].token_ids


@given(note=st.lists(lines, max_size=12).map("\n".join))
def test_a_cut_note_is_cut_no_further(backend, note):
    encoder = PromptEncoder(backend, PromptEncoder(backend, 1).count_overhead() + 20)
    (prompt,) = encoder.encode([note])
    if prompt.is_cut:
        (again,) = encoder.encode([prompt.text])
        assert again.text == prompt.text and not again.is_cut


def test_filter_leaves_the_over_long_out(backend):
    limit = PromptEncoder(backend, 1).count_overhead() + 8
    short, long = PromptEncoder(backend, limit, "filter").encode(["chest pain", NOTE])
    assert short.token_ids is not None and long.token_ids is None and not long.is_cut


def test_the_encoder_and_a_transformers_tokeniser_agree(backend):
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    loaded = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(backend))
    (prompt,) = PromptEncoder(backend, 10_000).encode([NOTE])
    assert prompt.token_ids == prompt_token_ids(loaded, NOTE)


@given(st.lists(st.text(alphabet="ab 1,.\n\t\r:|<>é中", max_size=30), max_size=4))
def test_the_ids_are_those_of_the_whole_prompt(backend, notes):
    encoder = PromptEncoder(backend, 10_000)
    whole = Tokenizer.from_str(backend)
    wanted = [whole.encode(render_prompt(note), add_special_tokens=False).ids for note in notes]
    assert [prompt.token_ids for prompt in encoder.encode(notes)] == wanted


def test_a_tokeniser_that_does_not_begin_anew_at_a_special_token_encodes_whole_prompts(backend):
    table = json.loads(backend)
    for token in table["added_tokens"]:
        token["special"] = token["normalized"] = True
    table["normalizer"] = {"type": "Prepend", "prepend": "a"}  # once a text, not once a turn
    odd = json.dumps(table)
    whole = Tokenizer.from_str(odd).encode(render_prompt("fall"), add_special_tokens=False).ids
    assert PromptEncoder(odd, 10_000).encode(["fall"])[0].token_ids == whole
    assert encode._find_frame(odd) is None and encode._find_frame(backend) is not None
