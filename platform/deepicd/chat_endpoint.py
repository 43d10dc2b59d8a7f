"""An OpenAI-compatible endpoint that sees notes: its client, its refusals, what it costs.

In: the settings of a judge or a teacher. Out: a client that has sent nothing. Decided here, once
for both: the official `openai` client does connections, time-outs and retries with back-off. It
follows no redirect, reads no proxy from the environment and logs no request: a note goes to the
host that the settings allow and to no other place.
"""

import logging
import os
from typing import Any

from deepicd.config import JudgeConfig, TracesConfig

_Settings = JudgeConfig | TracesConfig


def open_client(settings: _Settings) -> Any:
    """An `openai.AsyncOpenAI`; it belongs to the event loop that first uses it."""
    import openai

    # With OPENAI_LOG=debug the client would log whole requests, and they hold notes.
    logging.getLogger("openai").setLevel(logging.WARNING)
    return openai.AsyncOpenAI(
        base_url=settings.url,
        # Never None: the client would take OPENAI_API_KEY, which is not meant for this host.
        api_key=os.environ.get(settings.api_key_variable) or "none",
        timeout=settings.timeout_s,
        max_retries=settings.max_retries,
        http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False, trust_env=False),
    )


def refusals() -> tuple[type[Exception], ...]:
    """Errors of the client that no other request would escape: the key, or the model's name."""
    import openai

    return openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError


def cost_of(settings: _Settings, *, prompt_tokens: int, completion_tokens: int) -> float:
    """Price of so many tokens, in the currency of the settings."""
    return (
        prompt_tokens * settings.price_per_million_prompt_tokens
        + completion_tokens * settings.price_per_million_completion_tokens
    ) / 1e6
