"""What is known at a point of a discharge summary: the open section, evidence of the stay.

In: nothing. Out: `State`, and the groups of topics and times that rules speak of. Decided here: the
three steps of evidence (see `sections`). Pure.
"""

from dataclasses import dataclass

from deepicd.sections.names import SECTIONS

CORE_SECTIONS = SECTIONS[:3]
"""At least one of these must be non-empty."""

ILLNESS, EXAM, MEDICATION = "PRESENT ILLNESS", "PHYSICAL EXAM", "MEDICATION ON ADMISSION"
HISTORIES = (ILLNESS, "MEDICAL HISTORY")

AT_THE_END = ("discharge", "death")
IN_THE_STAY = ("stay", "latest", "changed", "scheduled")
LATE = (*AT_THE_END, *IN_THE_STAY)
AT_THE_DOOR = ("admission", "before")

ENDS = frozenset((
    "results", "pathology", "procedure", "course", "treatment", "diagnosis", "plan", "issues",
    "disposition", "condition", "instructions", "lifestyle", "followup", "admin", "emergency",
))  # fmt: skip
"""Topics that are not kept."""
CAPTIONS = frozenset(("diagnosis", "treatment", "pathology", "emergency", "lifestyle"))
"""Of these the ones that a history writes in front of a line."""
GIVEN = frozenset((
    "course", "issues", "disposition", "condition", "instructions", "lifestyle", "followup",
))  # fmt: skip
"""Topics that only a summary written at the end has."""
WORKUP = frozenset(("results", "pathology", "procedure", "treatment"))
"""Topics of what an emergency department did, as an illness tells it."""
MEASURED = frozenset(("results", "pathology", "procedure"))

NO_STAY, LATER_EXAM, STAY = range(3)
"""Evidence that the summary went on to the stay."""

_OPEN_ENDED = frozenset((
    "a", "an", "the", "of", "with", "no", "and", "or", "his", "her", "their", "for", "to", "in",
    "on", "at", "by", "per", "any", "from", "as", "is", "was",
))  # fmt: skip
"""A line that ends in one of these goes on in the next, which is then no header."""


@dataclass(slots=True)
class State:
    """What a reader knows before it reads the next line."""

    current: str | None = None
    """The open section; None where text is dropped."""
    evidence: int = NO_STAY
    is_flat: bool = False
    """The text is a section of a rendered note, without its line breaks."""
    is_packed: bool = False
    """The text has lost its line breaks."""
    is_after_blank: bool = True
    has_listed: bool = False
    """Headers of this summary have bullets or numbers."""
    has_text: bool = False
    has_core: bool = False
    has_history: bool = False
    has_illness: bool = False
    has_exam: bool = False
    previous: str = ""

    @property
    def is_history(self) -> bool:
        """The illness or the medical history is open."""
        return self.current in HISTORIES

    def is_open_ended(self) -> bool:
        """Whether the line before goes on in this one."""
        before = self.previous.rstrip()
        return before.endswith(",") or before.rpartition(" ")[2].lower() in _OPEN_ENDED

    def note_text(self) -> None:
        """The open section has text."""
        self.has_text = True
        self.has_core |= self.current in CORE_SECTIONS
        self.has_history |= self.is_history
        self.has_exam |= self.current == EXAM
        self.has_illness |= self.current == ILLNESS
