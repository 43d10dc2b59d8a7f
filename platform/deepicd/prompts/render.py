"""Renders a note as chat turns and as the prompt of the model.

In: the text of an admission note. Out: chat messages, the rendered prompt, or its token ids, always
with the `<think>` prefill, so that generation continues inside the reasoning block. Decided here:
the system turn, the template (ChatML; any tokeniser that knows `<|im_start|>` and `<|im_end|>` as
special tokens works: the tiny model's, Qwen2.5's, SmolLM2's), the prefill, and the shape of a
supervised response. `CHAT_TEMPLATE` is always handed over explicitly or installed into the
tokeniser that is saved, so that vLLM's chat route renders the same tokens.

Token identity of SFT and GRPO needs the prefill to end, and the response to begin, at a boundary of
the pre-tokeniser: the prefill ends in a newline and a response begins with a visible character
(`response_text` sees to it).
"""

from collections.abc import Sequence
from typing import Any, Protocol

from deepicd.errors import ConfigError

SYSTEM_PROMPT = (
    "From the admission note, predict the main ICD-10-CM discharge code. "
    "Reason briefly, then answer <diagnosis>CODE</diagnosis>."
)
"""System turn. Short on purpose: every training sample carries it."""

THINK_PREFILL = "<think>\n"
"""Put in front of every generated answer; part of the prompt."""

# An assistant turn may bring its own <think>: clients of the chat route send whole answers back.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' and message['content'][:7] != '<think>' %}"
    "{{ '<think>\\n' }}"
    "{% endif %}"
    "{{ message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}"
)
"""Jinja source of the template; an assistant turn is prefill + response + `<|im_end|>`."""

START_OF_TURN = "<|im_start|>"
"""Begins every turn."""

END_OF_TURN = "<|im_end|>"
"""Ends every turn; the model's end-of-sequence token."""


class Tokenizer(Protocol):
    """The part of a transformers tokeniser that rendering needs."""

    def apply_chat_template(self, conversation: Any, **kwargs: Any) -> Any:
        """Render messages to text or token ids."""


def render_messages(note_text: str) -> list[dict[str, str]]:
    """System and user turn of one note.

    `<|` is opened up to `< |` in the note, so that no note can end its turn or start another.
    """
    text = note_text.strip().replace("<|", "< |")
    return [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": text}]


def render_prompt(note_text: str) -> str:
    """Full prompt as text, prefill included; what `CHAT_TEMPLATE` gives with generation prompt."""
    turns = "".join(_render_turn(turn) for turn in render_messages(note_text))
    return f"{turns}{START_OF_TURN}assistant\n{THINK_PREFILL}"


def render_conversation(note_text: str, response: str) -> list[dict[str, str]]:
    """Messages of one SFT sample; `response` is what follows the prefill (`response_text`)."""
    return [*render_messages(note_text), {"role": "assistant", "content": response}]


def response_text(think: str, code: str) -> str:
    """What a model is to generate after the prefill: reasoning, end of thinking, code in its tags.

    `code` is written as given; pass the dotted form. Raises ConfigError when the reasoning is empty
    or holds a tag, because such a response does not parse.
    """
    think = think.strip()
    if not think or "<" in think:
        raise ConfigError(
            f"reasoning must be text without tags, not empty; got {len(think)} characters. Rewrite."
        )
    return f"{think}</think>\n<diagnosis>{code}</diagnosis>"


def prompt_token_ids(tokenizer: Tokenizer, note_text: str) -> list[int]:
    """Token ids of one prompt, prefill included, by a transformers tokeniser."""
    ids = tokenizer.apply_chat_template(
        render_messages(note_text),
        chat_template=CHAT_TEMPLATE,
        add_generation_prompt=True,
        tokenize=True,
        # transformers 5 gives a dict unless told otherwise.
        return_dict=False,
    )
    return [int(token) for token in ids]


def check_special_tokens(tokens: Sequence[str], source: str) -> None:
    """Raise ConfigError when a tokeniser does not know ChatML's markers as special tokens."""
    missing = [token for token in (START_OF_TURN, END_OF_TURN) if token not in tokens]
    if missing:
        raise ConfigError(
            f"the tokeniser in {source} has no special token {' and '.join(missing)}; prompts are "
            "ChatML. Use an instruction-tuned model with ChatML tokens, or add the tokens and "
            "resize its embeddings."
        )


def _render_turn(turn: dict[str, str]) -> str:
    return f"{START_OF_TURN}{turn['role']}\n{turn['content']}{END_OF_TURN}\n"
