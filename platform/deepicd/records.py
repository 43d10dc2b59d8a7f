"""What packages pass to each other: frozen dataclasses of plain values, no behaviour.

Codes are ICD-10-CM codes in canonical form everywhere: upper case, no dot, no blanks (`I2510`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Note:
    """One admission note with its gold label."""

    note_id: str
    patient_id: str
    admission_id: str
    text: str
    code: str
    """Gold principal diagnosis, canonical."""
    age_band: str | None = None
    sex: str | None = None
    race: str | None = None
    insurance: str | None = None


@dataclass(frozen=True)
class Answer:
    """What a model's text says. `code` is None exactly when `reason` is not None."""

    code: str | None
    """Canonical billable code that exists, else None."""
    reason: str | None
    """Name of the first fault that made the answer unusable (see `answers.FAULTS`), else None."""
    think: str
    """Text of the reasoning block, without its tags; empty if missing."""
    faults: tuple[str, ...] = ()
    """Every fault seen, in order of severity; format faults may stand beside a usable code."""
    raw_code: str | None = None
    """Text inside the diagnosis tags, canonical but not validated; None without such a block."""
    text: str = field(default="", repr=False, compare=False)
    """The whole text that was read, the `<think>` of the prompt included."""


@dataclass(frozen=True)
class Score:
    """What an answer earns: the weighted total and its unweighted components."""

    total: float
    components: Mapping[str, float]
    """Name of reward → value in [0, 1] (penalties in [-1, 0]); absent components are left out."""
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """How long prompts and answers may be: one rule in training, evaluation and serving."""

    max_prompt_tokens: int
    """Longest prompt, `<think>` prefill included."""
    max_response_tokens: int
    """An answer is cut off there."""
    overlong: Literal["truncate", "filter"] = "truncate"
    """What becomes of a note whose prompt is longer: words are left out, or the note is."""


@dataclass(frozen=True)
class Prediction:
    """One model answer to one note of an evaluated split."""

    note_id: str
    patient_id: str
    gold: str
    prediction: str | None
    """Canonical code, or None where the answer was unusable."""
    reason: str | None = None
    num_tokens: int | None = None
    """Length of the answer; None where nobody counted."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """Attribute (`sex`, `age_band`, `race`, `insurance`) → group of the patient, where known."""
    shares: Mapping[str, float] | None = None
    """Level (code, category, chapter) → share of all answers to this note, in [0, 1], that agree
    with this one; None where it was not sampled, or has no code."""


@dataclass(frozen=True)
class Curve:
    """Points of a rising function from [0, 1] to [0, 1]; straight lines between them."""

    shares: tuple[float, ...]
    """Share of answers that agree, rising."""
    accuracies: tuple[float, ...]
    """How often such an answer is right."""


@dataclass(frozen=True)
class Calibration:
    """How often answers are right, by how many of their samples agree with them."""

    curves: Mapping[str, Curve]
    """Level (code, category, chapter) → its curve; without the levels at which it would be worse
    than none."""
    num_notes: int
    """Answers it was fitted on."""
    num_samples: int = 0
    """Answers drawn beside the first; the curves hold for this number only."""
    temperature: float = 1.0
    """At which they were drawn."""
    errors: Mapping[str, float] = field(default_factory=dict)
    """Level → expected calibration error, each answer left out of its own fit; `LEVEL_raw` → that
    of the bare shares."""


@dataclass(frozen=True)
class Examination:
    """What the gate is shown of one model."""

    predictions: Sequence[Prediction]
    """On the promotion split."""
    seconds: float | None = None
    """Median time of one answer, asked one by one; None where nobody took it."""
    behaviour: Mapping[str, Sequence[bool]] = field(default_factory=dict)
    """Behaviour test → passed or not, case by case, in the same order for every model."""


@dataclass(frozen=True)
class ServedPrediction:
    """One answer of the endpoint, as the prediction log keeps it; nothing of a note's text."""

    id: str
    """Prediction id, as in the reply; a shadow's answer carries that of the answer it shadows."""
    version: str
    """Model version that answered."""
    time: float
    """Unix time in seconds."""
    code: str | None
    """Canonical code, or None where the answer was unusable."""
    reason: str | None = None
    """Why there is no code (`answers.FAULTS`)."""
    role: Literal["champion", "canary", "shadow"] = "champion"
    """On whose behalf the version answered."""
    confidence: float | None = None
    """Probability in [0, 1] that the code is right, as the reply said; None without one."""
    chapter_confidence: float | None = None
    """Calibrated probability in [0, 1] that the code's chapter is right; None where chapters are
    not calibrated or nothing was sampled, and 0 for an unusable answer of a calibrated version."""
    num_calibration: int | None = None
    """Answers that calibration was fitted on."""
    num_prompt_tokens: int | None = None
    """Length of what the model was shown."""
    admission_id: str | None = None
    """The client's own identifier of the admission, by which a label may come later."""
    subgroups: Mapping[str, str] = field(default_factory=dict)
    """Attribute (`sex`, `age_band`, `race`, `insurance`) → group, as far as the client said."""


@dataclass(frozen=True)
class Checkpoint:
    """A training checkpoint on storage."""

    path: str
    step: int
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Trial:
    """One trial of a sweep."""

    id: str
    params: Mapping[str, float | int | str | bool]
    status: str
    """pending, running, finished, stopped (early) or failed."""
    steps: int
    validation: Mapping[str, float]
    """Validation score set at the best step (objective included)."""
    checkpoint: Checkpoint | None = None
    error: str | None = None
    objectives: Mapping[str, float] = field(default_factory=dict)
    """What the sweep pursues, at the best step."""
    stage: str = ""
    """What it does, or waits for, while it is running or pending."""
    reason: str = ""
    """The cap at which it was stopped; empty where the scheduler chose."""


@dataclass(frozen=True)
class Decision:
    """Outcome of a promotion gate. A rejection is a report, not an error."""

    accepted: bool
    reasons: Sequence[str]
    numbers: Mapping[str, float]


@dataclass(frozen=True)
class Challenge:
    """How the challenger is tried beside the champion."""

    version: str
    percent: float = 0.0
    """Share of the requests that it answers (canary), in percent."""
    is_shadow: bool = False
    """It answers a copy of what the champion answers; clients never see that."""

    @property
    def is_served(self) -> bool:
        """False for a version that only has the alias."""
        return self.is_shadow or self.percent > 0


@dataclass(frozen=True)
class Window:
    """Hierarchical F1 over the labelled predictions of one window."""

    version: str
    """Model version that made the predictions."""
    start: float
    """Unix time in seconds of the oldest prediction in the window."""
    end: float
    num_predictions: int
    num_labelled: int
    hierarchical_f1: float | None
    """None while nothing is labelled."""
    low: float | None
    high: float | None
    macro_f1_chapter: float | None
    macro_f1_category: float | None
    macro_f1_full: float | None
    role: str = "champion"
    """On whose behalf the version answered: champion, canary or shadow."""
    share_unparsable: float = 0.0
    share_nonexistent: float = 0.0
    """Share of all answers that name a code which does not exist or is not billable."""
    mean_confidence: float | None = None
    calibration_error: float | None = None
    """Expected calibration error of the confidences in exact codes; None without any."""
    estimated_accuracy: float | None = None
    """Share of answers with the right chapter that their calibrated confidences promise, labels or
    not; None without a calibration."""
    estimated_low: float | None = None
    estimated_high: float | None = None
    """95% band of that share, while the calibration holds."""
    labelled_accuracy: float | None = None
    """That share as the labels say it, of the answers that have one."""
    is_estimate_sound: bool | None = None
    """Whether the labelled share lies in the band for those answers."""
    has_few_patients: bool = False
    """Whether the interval is widened because few answers are labelled; the log knows no patients,
    so each answer counts as one."""
