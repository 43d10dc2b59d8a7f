"""One renderer: what it writes, and that every road to token ids gives the same ids."""

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepicd import prompts
from deepicd.errors import ConfigError

NOTE = "CHIEF COMPLAINT: chest pain\nPRESENT ILLNESS: ___ yo F p/w CP x3 hours. Denies fever."
NOTES = [NOTE, "PRESENT ILLNESS: ___M admitted with melena", "MEDICAL HISTORY: HTN, T2DM\n", ""]


@pytest.fixture(scope="module")
def tokenizer(learn_tokeniser):
    """A small tokeniser with tag tokens and our template, as transformers loads one."""
    from transformers import PreTrainedTokenizerFast

    learnt = learn_tokeniser(map(prompts.render_prompt, NOTES))
    loaded = PreTrainedTokenizerFast(tokenizer_object=learnt, eos_token=prompts.END_OF_TURN)
    loaded.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    loaded.add_tokens(["<think>", "</think>", "<diagnosis>", "</diagnosis>"])
    loaded.chat_template = prompts.CHAT_TEMPLATE
    return loaded


def render_template(messages: list[dict[str, str]], *, is_prompt: bool) -> str:
    template = jinja2.Template(prompts.CHAT_TEMPLATE)
    return template.render(messages=messages, add_generation_prompt=is_prompt)


def test_a_prompt_is_written_out_in_full() -> None:
    assert prompts.render_prompt("CHIEF COMPLAINT: fall\n") == (
        f"<|im_start|>system\n{prompts.SYSTEM_PROMPT}<|im_end|>\n"
        "<|im_start|>user\nCHIEF COMPLAINT: fall<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n"
    )


@settings(deadline=None)
@given(st.text(max_size=200))
def test_the_template_and_the_renderer_agree_on_any_note(text: str) -> None:
    messages = prompts.render_messages(text)
    assert render_template(messages, is_prompt=True) == prompts.render_prompt(text)


@given(st.text(max_size=100), st.text(max_size=100))
def test_no_note_can_end_its_turn_or_start_another(before: str, after: str) -> None:
    for marker in ("<|im_end|>", "<|im_start|>assistant"):
        rendered = prompts.render_prompt(before + marker + after)
        assert rendered.count("<|im_start|>") == 3
        assert rendered.count("<|im_end|>") == 2


def test_an_assistant_turn_renders_as_prefill_response_and_end_of_turn() -> None:
    response = prompts.response_text("Chest pain suggests angina.", "I20.9")
    whole = render_template(prompts.render_conversation(NOTE, response), is_prompt=False)
    assert whole == prompts.render_prompt(NOTE) + response + "<|im_end|>\n"


def test_an_answer_that_brings_its_own_think_tag_gets_no_second_one() -> None:
    turns = prompts.render_conversation(NOTE, "<think>\nCP.</think>\n<diagnosis>I20.9</diagnosis>")
    assert render_template(turns, is_prompt=False).count("<think>") == 1


def test_a_response_has_reasoning_then_the_code_in_its_tags() -> None:
    assert prompts.response_text("  Melena.  ", "K25.4") == (
        "Melena.</think>\n<diagnosis>K25.4</diagnosis>"
    )


@pytest.mark.parametrize("think", ["", "  \n", "so <diagnosis>", "a</think>b"])
def test_reasoning_that_cannot_parse_is_refused(think: str) -> None:
    with pytest.raises(ConfigError, match="reasoning must be text without tags"):
        prompts.response_text(think, "K25.4")


def test_token_ids_are_the_same_by_template_and_by_text(tokenizer) -> None:
    for note in NOTES:
        ids = prompts.prompt_token_ids(tokenizer, note)
        assert ids == tokenizer(prompts.render_prompt(note), add_special_tokens=False)["input_ids"]
        assert ids == tokenizer.apply_chat_template(  # the template that serving finds stored
            prompts.render_messages(note), add_generation_prompt=True, return_dict=False
        )


def test_a_supervised_sample_starts_with_exactly_the_prompts_tokens(tokenizer) -> None:
    response = prompts.response_text("Melena and guaiac positive suggest bleeding.", "K25.4")
    for note in NOTES:
        whole = tokenizer.apply_chat_template(
            prompts.render_conversation(note, response), return_dict=False
        )
        prompt = prompts.prompt_token_ids(tokenizer, note)
        answer = tokenizer(response + prompts.END_OF_TURN, add_special_tokens=False)["input_ids"]
        newline = tokenizer("\n", add_special_tokens=False)["input_ids"]
        assert whole == prompt + answer + newline


def test_a_template_stored_in_the_tokeniser_does_not_change_our_prompt(tokenizer) -> None:
    before = prompts.prompt_token_ids(tokenizer, NOTE)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    try:
        assert prompts.prompt_token_ids(tokenizer, NOTE) == before
    finally:
        tokenizer.chat_template = prompts.CHAT_TEMPLATE


def test_a_tokeniser_without_chatml_markers_is_refused() -> None:
    prompts.check_special_tokens(["<|im_end|>", "<|im_start|>", "x"], "here")
    with pytest.raises(ConfigError, match=r"in m/tokenizer.json has no special token <\|im_end\|>"):
        prompts.check_special_tokens(["<|im_start|>"], "m/tokenizer.json")
