"""Generated text → ICD-10-CM code, or the reason why there is none.

One parser for rewards, evaluation and serving.

In: the text that a model generated, hostile or not. Out: `records.Answer`. The right form is
`<think>reasoning</think><diagnosis>CODE</diagnosis>`, blanks between the blocks allowed; tags are
matched as written, in lower case.

Decided here: an answer is usable when, after the reasoning has ended, it gives exactly one complete
diagnosis block that holds one billable code and nothing else. Case, dots and blanks in the code do
not matter. Faults of form beside a usable code (no or empty reasoning, text outside the tags) are
recorded and leave the code usable. Linear time: tags are found by plain search, at most `_MAX_TAGS`
of each kind are looked at.
"""

from dataclasses import dataclass, field

from deepicd import codes
from deepicd.records import Answer

FAULTS = (
    "empty",
    "truncated",
    "no_diagnosis",
    "several_diagnoses",
    "nested_diagnosis",
    "unclosed_diagnosis",
    "not_a_code",
    "unknown_code",
    "not_billable",
    "stray_tag",
    "several_thinks",
    "nested_think",
    "missing_think",
    "empty_think",
    "text_outside",
)
"""Every fault by name, most severe first; up to `not_billable` they are fatal."""

FATAL_FAULTS = frozenset(FAULTS[: FAULTS.index("not_billable") + 1])
"""Faults without a usable code; the first one of them is the answer's `reason`."""

CODE_FAULTS = frozenset({"not_a_code", "unknown_code", "not_billable"})
"""Fatal faults of an answer whose blocks are right and whose code is not."""

_MAX_TAGS = 8
"""Tags of one kind that are looked at; more of a kind is a fault long before."""

_MAX_CODE_CHARACTERS = 32
"""Longest text inside the diagnosis tags that is looked at as a code."""

_TAGS = ("<think>", "</think>", "<diagnosis>", "</diagnosis>")


@dataclass
class _Scan:
    """What was found on the way over the tags of one text."""

    faults: set[str] = field(default_factory=set)
    thinks: list[tuple[int, int]] = field(default_factory=list)
    """Start and end of the text of each reasoning block."""
    diagnoses: list[tuple[int, int]] = field(default_factory=list)
    inside: str = ""
    """Kind of the open block: `think`, `diagnosis` or empty."""
    start: int = 0
    """Where the text of the open block starts."""
    outside: int = 0
    """Where the text after the last closed block starts."""
    gaps: list[tuple[int, int]] = field(default_factory=list)
    """Start and end of each stretch of text outside the blocks."""


def parse_answer(text: str, *, is_prefilled: bool = True, release: int | None = None) -> Answer:
    """Parse one answer.

    Args:
        text: the generated text; special tokens already removed.
        is_prefilled: `<think>` was the end of the prompt, so the text starts inside the reasoning.
        release: fiscal year whose code table decides what exists and is billable; None takes all
            releases together.

    Raises:
        CodeError: `release` is not in the table.
    """
    whole = f"<think>{text}" if is_prefilled else text
    if not text.strip():
        return Answer(code=None, reason="empty", think="", faults=("empty",), text=whole)
    scan = _walk(whole)
    think = whole[slice(*scan.thinks[0])].strip() if scan.thinks else ""
    raw = _raw_code(whole, scan)
    faults = scan.faults | _block_faults(whole, scan)
    if not faults & FATAL_FAULTS and raw is not None:
        faults |= _code_faults(raw, release)
    # In the order of FAULTS, so that the reason is the most severe one.
    ordered = tuple(fault for fault in FAULTS if fault in faults)
    reason = next((fault for fault in ordered if fault in FATAL_FAULTS), None)
    code = raw if reason is None else None
    return Answer(code=code, reason=reason, think=think, faults=ordered, raw_code=raw, text=whole)


def _find_tags(text: str) -> list[tuple[int, str]]:
    """Position and text of the first `_MAX_TAGS` tags of each kind, in order."""
    tags: list[tuple[int, str]] = []
    for tag in _TAGS:
        position = text.find(tag)
        for _ in range(_MAX_TAGS):
            if position < 0:
                break
            tags.append((position, tag))
            position = text.find(tag, position + len(tag))
    return sorted(tags)


def _walk(text: str) -> _Scan:
    scan = _Scan()
    for position, tag in _find_tags(text):
        kind = tag.strip("</>")
        if tag.startswith("</"):
            _close(scan, kind, start=position, end=position + len(tag))
        else:
            _open(scan, kind, start=position, end=position + len(tag))
    if scan.inside:
        scan.faults.add("truncated")
    else:
        scan.gaps.append((scan.outside, len(text)))
    return scan


def _open(scan: _Scan, kind: str, *, start: int, end: int) -> None:
    if not scan.inside:
        scan.gaps.append((scan.outside, start))
        scan.inside, scan.start = kind, end
    # A tag inside a block opens nothing: the block goes on to its own closing tag.
    elif scan.inside == "diagnosis":
        scan.faults.add("nested_diagnosis" if kind == "diagnosis" else "unclosed_diagnosis")
    else:
        scan.faults.add("nested_diagnosis" if kind == "diagnosis" else "nested_think")


def _close(scan: _Scan, kind: str, *, start: int, end: int) -> None:
    if scan.inside != kind:
        scan.faults.add("stray_tag")
        return
    blocks = scan.thinks if kind == "think" else scan.diagnoses
    blocks.append((scan.start, start))
    scan.inside, scan.outside = "", end


def _raw_code(text: str, scan: _Scan) -> str | None:
    if not scan.diagnoses:
        return None
    start, end = scan.diagnoses[0]
    return codes.normalise(text[start : min(end, start + _MAX_CODE_CHARACTERS)])


def _block_faults(text: str, scan: _Scan) -> set[str]:
    faults: set[str] = set()
    if not scan.diagnoses:
        faults.add("no_diagnosis")
    if len(scan.diagnoses) > 1:
        faults.add("several_diagnoses")
    if len(scan.thinks) > 1:
        faults.add("several_thinks")
    # Tuples compare by their start: the first reasoning must begin before the first diagnosis.
    if not scan.thinks or (scan.diagnoses and scan.thinks[0] > scan.diagnoses[0]):
        faults.add("missing_think")
    elif not text[slice(*scan.thinks[0])].strip():
        faults.add("empty_think")
    if any(text[start:end].strip() for start, end in scan.gaps):
        faults.add("text_outside")
    if scan.diagnoses and scan.diagnoses[0][1] - scan.diagnoses[0][0] > _MAX_CODE_CHARACTERS:
        faults.add("not_a_code")
    return faults


def _code_faults(code: str, release: int | None) -> set[str]:
    if not _looks_like_code(code):
        return {"not_a_code"}
    if not codes.exists(code, release):
        return {"unknown_code"}
    return set() if codes.is_billable(code, release) else {"not_billable"}


def _looks_like_code(code: str) -> bool:
    """A letter, two characters with a digit among them (`I25`, `C4A`, `QA0`), up to four more."""
    is_plain = code.isascii() and code.isalnum() and 3 <= len(code) <= codes.MAX_LENGTH
    return is_plain and code[0].isalpha() and (code[1].isdigit() or code[2].isdigit())
