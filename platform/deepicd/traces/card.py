"""The card of a file of traces: what was asked, accepted and refused, by chapter and by reason.

In: outcomes of a build. Out: a dict of names and numbers, and its place beside the traces. Decided
here: the card binds the traces to their notes and to the code table by hashes, so that an
experiment can refuse those of others. It holds no text of a note and of no trace.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepicd import codes
from deepicd.chat_endpoint import cost_of
from deepicd.config import TracesConfig
from deepicd.errors import DataError
from deepicd.notes.identity import identify_codes
from deepicd.records import Note
from deepicd.traces.part_file import Outcome
from deepicd.traces.trace_file import read_traces

_FORMAT = 1


@dataclass(frozen=True)
class Tally:
    """What a build did."""

    outcomes: Sequence[Outcome]
    num_failed: int
    """Requests without a reply in the process that ended the build."""
    num_unanswered: int
    """Notes that never had one."""


def card_path(traces: Path) -> Path:
    """Where the card of a file of traces lies."""
    return traces.with_name(f"{traces.stem}.card.json")


def make_card(
    tally: Tally, notes: Sequence[Note], traces: Path, *, settings: TracesConfig, seed: int
) -> dict[str, Any]:
    """The card of a file of traces that was just written.

    Args:
        tally: of the build.
        notes: training notes; those with a trace are hashed.
        traces: the file.
        settings: of the teacher.
        seed: of the order and of the samples.
    """
    outcomes = tally.outcomes
    prompt_tokens = sum(outcome.prompt_tokens for outcome in outcomes)
    completion_tokens = sum(outcome.completion_tokens for outcome in outcomes)
    cost = cost_of(settings, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
    return {
        "format": _FORMAT,
        "accepted": sum(not outcome.reason for outcome in outcomes),
        "refused": _count(outcome.reason for outcome in outcomes if outcome.reason),
        "asked": len(outcomes),
        "failed_requests": tally.num_failed,
        "unanswered_notes": tally.num_unanswered,
        "chapters": _by_chapter(outcomes, {note.note_id: note.code for note in notes}),
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "cost": cost,
        "seconds": round(sum(outcome.seconds for outcome in outcomes), 3),
        "teacher": settings.model,
        "settings": settings.model_dump(mode="json", exclude={"url", "allowed_hosts"}),
        "seed": seed,
        "codes": identify_codes(),
        "notes_sha256": hash_notes(read_traces(traces), notes),
        "traces_sha256": hashlib.sha256(traces.read_bytes()).hexdigest(),
    }


def read_card(traces: Path) -> dict[str, Any] | None:
    """The card beside a file of traces; None where there is none. Raises DataError."""
    path = card_path(traces)
    if not path.is_file():
        return None
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        card = None
    if not isinstance(card, dict) or card.get("format") != _FORMAT:
        raise DataError(
            f"{path} is no card of traces of this version; build the traces anew, or move it away"
        )
    return card


def check_card(traces: Path, rows: Sequence[Mapping[str, Any]], notes: Sequence[Note]) -> None:
    """Refuse traces whose card tells of another file, of other notes or of another code table;
    traces without a card are not refused.

    Args:
        traces: the file.
        rows: all of it.
        notes: training notes of the experiment.

    Raises:
        DataError: names the first that differs.
    """
    card = read_card(traces)
    if card is None:
        return
    if card["traces_sha256"] != hashlib.sha256(traces.read_bytes()).hexdigest():
        raise DataError(
            f"{traces} was changed after its card was written; build it anew, or delete "
            f"{card_path(traces)} if the change was meant"
        )
    if card["codes"] != identify_codes():
        raise DataError(
            f"{traces} was built with the code table of {card['codes'].get('release')}, and this "
            f"is another one ({identify_codes()['release']}); build it anew: deepicd traces build"
        )
    if card["notes_sha256"] != hash_notes(rows, notes):
        raise DataError(
            f"{traces} was built from other training notes than these; name the splits that it was "
            "built from (data.splits), or build it anew: deepicd traces build"
        )


def hash_notes(rows: Iterable[Mapping[str, Any]], notes: Sequence[Note]) -> str:
    """SHA-256 of the notes that the traces belong to, in the traces' order; a note that is not
    there counts as empty.
    """
    known = {note.note_id: note for note in notes}
    hasher = hashlib.sha256()
    for row in rows:
        note = known.get(row["note_id"])
        told = [note.note_id, note.patient_id, note.code, note.text] if note else []
        hasher.update(json.dumps(told).encode())
    return hasher.hexdigest()


def _by_chapter(outcomes: Sequence[Outcome], gold: Mapping[str, str]) -> dict[str, Any]:
    chapters: dict[str, list[str]] = {}
    for outcome in outcomes:
        chapters.setdefault(codes.chapter(gold[outcome.note_id]), []).append(outcome.reason)
    return {
        chapter: {
            "asked": len(chapters[chapter]),
            "accepted": chapters[chapter].count(""),
            "refused": _count(reason for reason in chapters[chapter] if reason),
        }
        for chapter in sorted(chapters)
    }


def _count(reasons: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(reasons).items()))
