"""Bodies of the typed routes, and how a model's answers become one reply.

In: a `Generation`. Out: `Diagnosis`. Decided here: the greedy answer is the reply; confidence is
self-consistency, the share of all answers (greedy and sampled) that name the same code, turned into
a probability by the version's calibration where it has one for answers drawn in this way; `top_k`
are the codes those answers name, most frequent first. A malformed or non-existent answer is a reply
with `code` null and its reason, never an error.
"""

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from deepicd.identifiers import parse_id

NUM_TOP = 5
"""Codes in `top_k`."""
_MAX_NOTES = 64
"""Notes in a batch."""


def _require_text(note: str) -> str:
    if not note.strip():
        raise ValueError("must hold text; send the admission note")
    if "\x00" in note:
        raise ValueError("must be text; it holds a null character, so it looks like a binary file")
    return note


Note = Annotated[str, AfterValidator(_require_text)]
"""Text of an admission note."""
_Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$")]
_AdmissionId = Annotated[_Identifier, BeforeValidator(parse_id)]
"""A whole number is taken as its text; null, NaN and fractions would make many admissions one."""
_Attribute = Literal["sex", "age_band", "race", "insurance"]
_Group = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+/-]{0,39}$")]


class Body(BaseModel):
    """Base of the bodies: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class DiagnosisRequest(Body):
    """One admission note, or a batch."""

    note: Note | None = None
    notes: list[Note] | None = Field(default=None, min_length=1, max_length=_MAX_NOTES)
    """A batch; the other fields hold for each of its notes."""
    include_reasoning: bool = Field(
        default=True, validation_alias=AliasChoices("include_reasoning", "reasoning")
    )
    """False leaves `reasoning` out of the reply."""
    include_evidence: bool = Field(
        default=False, validation_alias=AliasChoices("include_evidence", "evidence")
    )
    """True adds the places in the note that the reasoning repeats."""
    is_constrained: bool | None = Field(
        default=None, validation_alias=AliasChoices("is_constrained", "constrained")
    )
    """True: the answers end in a billable code; None takes the server's."""
    include_token_ids: bool = False
    """True adds the ids of the prompt that the model was shown."""
    num_samples: int | None = Field(default=None, ge=0, le=64)
    """Answers sampled beside the greedy one; 0 gives no confidence; None takes the server's."""
    admission_id: _AdmissionId | None = None
    """Your own identifier of the admission; a label may come by it. Kept in the prediction log."""
    subgroups: dict[_Attribute, _Group] | None = None
    """For monitoring by subgroup, for example {"sex": "F", "age_band": "60-69"}."""
    min_confidence: float | None = Field(default=None, gt=0, le=1)
    """How sure the reply must be: `agreed` then says at which level it is. Needs samples."""

    @model_validator(mode="after")
    def _require_samples(self) -> "DiagnosisRequest":
        if self.min_confidence is not None and self.num_samples == 0:
            raise ValueError("min_confidence needs samples: num_samples must not be 0")
        return self

    @model_validator(mode="after")
    def _require_one(self) -> "DiagnosisRequest":
        if (self.note is None) == (self.notes is None):
            raise ValueError("must hold either note, an admission note, or notes, a list of them")
        if self.notes is not None and (self.admission_id or self.subgroups):
            raise ValueError("admission_id and subgroups belong to one note; send it as note")
        return self


class LabelRequest(Body):
    """A late label."""

    prediction_id: _Identifier | None = None
    """As the reply gave it."""
    admission_id: _AdmissionId | None = None
    """As you gave it with the note; the label holds for every answer to that admission."""
    code: str = Field(min_length=1, max_length=16)
    """ICD-10-CM code, with or without its dot."""

    @model_validator(mode="after")
    def _require_one(self) -> "LabelRequest":
        if (self.prediction_id is None) == (self.admission_id is None):
            raise ValueError("must hold either prediction_id or admission_id")
        return self


class LabelReply(Body):
    """What was kept."""

    prediction_id: str | None
    admission_id: str | None = None
    code: str
    """Canonical."""
    outcome: str
    """stored, unchanged, corrected, or waiting (for a prediction of that id)."""


class Candidate(Body):
    """A code that some of the answers name."""

    code: str
    title: str
    share: float
    """Share of all answers, in [0, 1]."""


Level = Literal["code", "category", "chapter"]


class Agreed(Body):
    """The deepest level of the ICD-10-CM tree at which the confidence is high enough."""

    level: Level | None
    """Null to abstain: not even of a chapter is it sure enough."""
    node: str | None
    title: str | None
    share: float | None
    """Share of all answers, unusable ones included, below this node."""
    confidence: float | None = None
    """Probability that the node is right where its level is calibrated, else the share."""
    is_calibrated: bool = False
    """Whether `confidence` is a probability."""


class Evidence(Body):
    """A span of the note that the reasoning repeats word for word, case and white space aside."""

    text: str
    start: int
    """Of its first character in the note as it was sent."""
    end: int
    """After its last character."""


class Usage(Body):
    """Tokens of one reply, samples included."""

    prompt_tokens: int
    completion_tokens: int


class Diagnosis(Body):
    """Typed reply to one note."""

    prediction_id: str
    """Send it with the label, when that is known."""
    model_version: str
    parsable: bool
    """True when the answer holds a usable code."""
    reason: str | None
    """Why there is no code (`answers.FAULTS`); null when there is one."""
    code: str | None
    """Canonical billable code; null when the answer is unusable."""
    code_dotted: str | None
    title: str | None
    category: str | None
    """Three characters."""
    block: str | None
    chapter: str | None
    """Roman numeral."""
    chapter_title: str | None
    path: list[str] | None
    """From the chapter down to the code."""
    exists: bool
    """Whether the code that the model named is in ICD-10-CM."""
    billable: bool
    """Whether it can be billed, in any release."""
    release: int | None
    """Latest release (fiscal year) in which the code can be billed."""
    raw_code: str | None
    """What the model wrote as code, canonicalised, not validated."""
    confidence: float | None
    """Probability that the code is right (`is_calibrated`), or else the share of all answers that
    name it; null without samples or without a code."""
    is_calibrated: bool = False
    """Whether `confidence` is a probability, measured on the validation split."""
    confidence_chapter: float | None = None
    """As `confidence`, of the code's chapter."""
    is_chapter_calibrated: bool = False
    """Whether `confidence_chapter` is a probability: a level at which the calibration would be
    worse than none has the bare share."""
    top_k: list[Candidate]
    agreed: Agreed | None = None
    """Null unless `min_confidence` is given."""
    reasoning: str | None
    evidence: list[Evidence] | None = None
    """Null unless asked for; empty when the reasoning repeats nothing of the note."""
    is_truncated: bool
    """True when the answer ran into the token limit."""
    is_note_cut: bool
    """True when the note was over-long and the model was shown its most important sections only."""
    usage: Usage
    prompt_token_ids: list[int] | None = None


class Refusal(Body):
    """A note of a batch that was not answered; the others are."""

    status: int
    """As the note would have got by itself."""
    detail: str


class Diagnoses(Body):
    """Typed reply to a batch."""

    diagnoses: list[Diagnosis | Refusal]
    """One for each note, in their order."""
