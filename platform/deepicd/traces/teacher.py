"""A teacher behind an OpenAI-compatible endpoint: messages → a reply, or why there is none.

In: chat messages. Out: a `Reply`. Decided here: an endpoint that is down, slow, or answers with
something that is no chat completion gives a reply without text and with the kind of the failure,
never its words, which may repeat the note; that is never a bad trace. A key that is refused, or a
model that does not exist, raises: no other request would do better.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from deepicd.chat_endpoint import open_client, refusals
from deepicd.config import TracesConfig
from deepicd.errors import ConfigError


@dataclass(frozen=True)
class Reply:
    """What came back for one request."""

    text: str | None
    """None when there was no reply."""
    failure: str = ""
    """Kind of the failure; empty with a reply."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    is_final: bool = False
    """Whether the same request would fail again: the endpoint refuses what it asks."""


class Teacher(Protocol):
    """Whoever writes traces."""

    async def ask(self, messages: Sequence[dict[str, str]], *, seed: int) -> Reply:
        """One reply."""

    async def close(self) -> None:
        """End connections or engine."""


class EndpointTeacher:
    """A model behind an endpoint; belongs to the event loop that first uses it."""

    def __init__(self, settings: TracesConfig) -> None:
        """Open the client; nothing is sent."""
        self._settings = settings
        self._client = open_client(settings)

    async def ask(self, messages: Sequence[dict[str, str]], *, seed: int) -> Reply:
        """One reply.

        Raises:
            ConfigError: the endpoint refuses the key or does not know the model.
        """
        import openai

        turns: Any = list(messages)
        try:
            completion = await self._client.chat.completions.create(
                model=self._settings.model,
                messages=turns,
                temperature=self._settings.temperature,
                max_tokens=self._settings.max_reply_tokens,
                seed=seed,
            )
            return _read(completion)
        except refusals() as error:
            raise ConfigError(
                f"the teacher refuses model {self._settings.model!r} or the key in "
                f"{self._settings.api_key_variable} ({type(error).__name__}); name a model that it "
                "serves, and set the key where it asks for one"
            ) from None
        # Such as a note that is longer than the model's context.
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            return Reply(None, type(error).__name__, is_final=True)
        # Whatever the client makes of a reply that is none: its words may hold the note.
        except Exception as error:
            return Reply(None, type(error).__name__)

    async def close(self) -> None:
        """Close connections."""
        await self._client.close()


def _read(completion: Any) -> Reply:
    """The reply in a completion; what has another shape raises, whatever it is."""
    text = completion.choices[0].message.content
    if not isinstance(text, str | None):
        return Reply(None, "reply without text")
    usage = completion.usage
    counts = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
    prompt_tokens, completion_tokens = (n if isinstance(n, int) else 0 for n in counts)
    # No content is a reply too: a teacher that refuses to answer, or thinks to its limit.
    return Reply(text or "", "", prompt_tokens, completion_tokens)
