"""Note → chat turns → token ids: the one renderer of SFT, GRPO, evaluation and serving.

    render     turns, template, prefill; what a supervised response looks like
    fit        which words of an over-long note stay
    encode     notes → token ids within the limit; the same function for all four

Every prompt ends in the `<think>` prefill, so that generation continues inside the reasoning block.
"""

from deepicd.prompts.encode import Prompt, PromptEncoder
from deepicd.prompts.fit import SECTION_PRIORITY, fit_note
from deepicd.prompts.render import (
    CHAT_TEMPLATE,
    END_OF_TURN,
    SYSTEM_PROMPT,
    THINK_PREFILL,
    Tokenizer,
    check_special_tokens,
    prompt_token_ids,
    render_conversation,
    render_messages,
    render_prompt,
    response_text,
)

__all__ = [
    "CHAT_TEMPLATE",
    "END_OF_TURN",
    "SECTION_PRIORITY",
    "SYSTEM_PROMPT",
    "THINK_PREFILL",
    "Prompt",
    "PromptEncoder",
    "Tokenizer",
    "check_special_tokens",
    "fit_note",
    "prompt_token_ids",
    "render_conversation",
    "render_messages",
    "render_prompt",
    "response_text",
]
