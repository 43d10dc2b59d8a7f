"""The seams: what the gateway needs of an engine and of a prediction log, and what passes between.

The gateway is written against these, so that its routes run and are tested without Ray and vLLM,
and so that the monitoring room stays unknown here: its log comes in as an import path.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, Protocol

from deepicd.errors import ConfigError
from deepicd.records import Calibration, ServedPrediction
from deepicd.serving.settings import LogSettings

VERSION_HEADER = "x-model-version"
"""Of every generated reply, and of the head that an engine forwards."""


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

    def describe(self) -> list[dict[str, str | float]]:
        """Rows of `version`, `role` and `percent`."""


class PredictionLog(Protocol):
    """Where predictions and their late labels are kept; no note text ever reaches it."""

    def record(self, prediction: ServedPrediction) -> None:
        """Keep one answer."""

    def label(
        self, key: str, code: str, *, time: float, by: Literal["prediction", "admission"]
    ) -> str:
        """Keep one late label, also of an unknown id; returns what became of it in a word.

        Raises DataError or CodeError for an id or a code that it cannot take.
        """

    def report(self) -> dict[str, Any]:
        """What `/v1/monitor` shows, JSON-ready; `windows` are its hierarchical F1 by window."""


def open_log(settings: LogSettings | None) -> PredictionLog | None:
    """The log that the settings name.

    Raises:
        ConfigError: the factory's module or name does not exist.
    """
    if settings is None:
        return None
    module, _, name = settings.factory.partition(":")
    try:
        factory = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"no prediction log at {settings.factory}: {error}. Give an importable module:Name."
        ) from error
    log: PredictionLog = factory(**settings.arguments)
    return log
