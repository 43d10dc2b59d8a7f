"""What the gateway and the engines agree on: the interface of an engine, and what passes between.

In: nothing. Out: protocols and frozen records. Decided here: the gateway is written against these
protocols, so that its routes run and are tested without Ray and vLLM.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol

from deepicd.records import Calibration

VERSION_HEADER = "x-model-version"
"""Of every generated reply, and of the head that an engine forwards."""
CODE_TOKENS = 24
"""Tokens for the tag before a code, and again for a code with its closing tag, if each character
were a token of its own."""
MIN_CONSTRAINED_TOKENS = 2 * CODE_TOKENS + 8
"""Shortest `max_response_tokens` that leaves a constrained answer some reasoning."""


@dataclass(frozen=True)
class Generation:
    """What an engine made of one note."""

    text: str
    """Greedy answer, after the `<think>` prefill."""
    samples: tuple[str, ...]
    """Sampled answers."""
    prompt_token_ids: tuple[int, ...]
    """What the model was shown, prefill included."""
    num_completion_tokens: int
    """Tokens generated, samples included."""
    is_truncated: bool
    """True when the greedy answer hit `max_response_tokens`."""
    is_note_cut: bool = False
    """True when the model was shown a part of an over-long note."""
    version: str = ""
    """Whose weights answered."""
    calibration: Calibration | None = None
    """How often such answers are right, where the version knows it for answers drawn in this way.
    """


@dataclass(frozen=True)
class TooLong:
    """A note whose prompt does not fit; nothing was generated."""

    num_prompt_tokens: int
    max_prompt_tokens: int


@dataclass(frozen=True)
class Head:
    """Status and headers of a forwarded reply; its body follows in pieces."""

    status: int
    headers: tuple[tuple[str, str], ...]


class Engine(Protocol):
    """One version of the model."""

    version: str

    async def generate(
        self, note: str, num_samples: int, *, is_constrained: bool = False
    ) -> Generation | TooLong:
        """Answer one note greedily, and `num_samples` times by sampling; constrained answers end in
        a billable code whatever the model would rather say.
        """

    def forward(self, method: str, path: str, body: bytes) -> AsyncIterator[Head | bytes]:
        """Reply of vLLM's own OpenAI server: a `Head`, then the body in pieces."""

    async def card(self) -> str | None:
        """Model card as Markdown, None for a model without one."""

    async def check_health(self) -> None:
        """Return when the engine can answer; raise otherwise."""


@dataclass(frozen=True)
class ServedVersion:
    """A version that answers now, and as what."""

    version: str
    role: Literal["champion", "canary", "shadow"]
    percent: float
    """Share of the requests that it answers for clients; 0 for a shadow."""


@dataclass(frozen=True)
class Choice:
    """Who answers a request, and as what."""

    engine: Engine
    role: Literal["champion", "canary"]


class Switch(Protocol):
    """Says which engines answer now. Each method raises RefusedError before the first version."""

    def choose(self, request_id: str) -> Choice:
        """Who answers a request that begins now; the same for the same id."""

    def champion(self) -> Engine:
        """Who answers where a canary cannot."""

    def shadow(self) -> Engine | None:
        """Who answers a copy of the request; None for nobody."""

    def describe(self) -> list[ServedVersion]:
        """Every version and role that is served now."""
