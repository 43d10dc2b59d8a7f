"""`[traces]`: the teacher that writes reasoning traces, and what a trace must keep to."""

from collections.abc import Iterator

from pydantic import Field

from deepicd.config.endpoints import LOOPBACK, endpoint_faults
from deepicd.config.strict_model import Contradiction, StrictModel

TEACHER_PATIENCE = frozenset(
    {
        *("url", "allowed_hosts", "api_key_variable", "max_concurrent", "timeout_s", "max_retries"),
        *("max_failures", "price_per_million_prompt_tokens", "price_per_million_completion_tokens"),
    }
)
"""Settings that decide no trace: a build may go on with others."""


class TracesConfig(StrictModel):
    """A teacher that writes traces for training notes; without `url` there is none."""

    url: str = ""
    """Base address of an OpenAI-compatible endpoint, `/v1` included; empty for no teacher."""
    model: str = ""
    """Name of the model at that endpoint."""
    allowed_hosts: tuple[str, ...] = LOOPBACK
    """Hosts that may see a note and its code. Another one must be named here and in `url`."""
    api_key_variable: str = "DEEPICD_TEACHER_KEY"
    """Environment variable that holds the endpoint's key, if it asks for one."""
    samples_per_note: int = Field(default=4, ge=1)
    """Attempts at one note; the first that passes every check is its trace."""
    max_per_label: int = Field(default=0, ge=0)
    """Traces of one code at most; 0 sets no limit."""
    temperature: float = Field(default=0.8, ge=0)
    """Sampling temperature of the teacher."""
    max_reply_tokens: int = Field(default=1024, ge=8)
    """A reply is cut off there, in tokens; one that is cut off does not parse."""
    max_note_characters: int = Field(default=24_000, ge=100)
    """The teacher sees this much of a note's beginning."""
    max_concurrent: int = Field(default=16, ge=1)
    """Requests in flight."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Longest wait for one request, in seconds."""
    max_retries: int = Field(default=2, ge=0)
    """Further attempts after a connection error, a time-out, 429 or 5xx, with back-off."""
    max_failures: int = Field(default=8, ge=1)
    """Requests in a row without a reply that count as a teacher that is down; the build stops."""
    min_words: int = Field(default=8, ge=1)
    """Words of a reasoning, at least."""
    max_words: int = Field(default=400, ge=1)
    """Words of a reasoning, at most."""
    min_spans: int = Field(default=2, ge=0)
    """Different wordings of the note that a reasoning takes up, at least."""
    max_copied: float = Field(default=0.5, ge=0, le=1)
    """Share of the reasoning's runs of eight words that stand in the note, at most."""
    min_distinct: float = Field(default=0.6, ge=0, le=1)
    """Share of the reasoning's runs of three words that differ, at least."""
    similarity: float = Field(default=0.8, gt=0, le=1)
    """Similarity from which a reasoning is a near-duplicate of an accepted one."""
    price_per_million_prompt_tokens: float = Field(default=0.0, ge=0)
    """For the cost on the card, in any currency."""
    price_per_million_completion_tokens: float = Field(default=0.0, ge=0)
    """For the cost on the card, in the same currency."""

    def contradictions(self) -> Iterator[Contradiction]:
        """An endpoint that may not see notes, or is named in part; lengths that cannot be."""
        yield from endpoint_faults(
            "traces", self.url, model=self.model, allowed_hosts=self.allowed_hosts
        )
        # A model says whether there is a teacher: an address may change while a run goes on.
        if self.model and not self.url:
            yield (
                ("model",),
                "traces.model is set, traces.url is not; name the endpoint, or remove the model",
            )
        if self.min_words > self.max_words:
            yield (
                ("min_words",),
                f"traces.min_words ({self.min_words}) must be at most traces.max_words "
                f"({self.max_words}); change either",
            )
