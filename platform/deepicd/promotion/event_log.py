"""The registry's event log: one append-only JSONL file, at once audit log and only truth.

In: events (a version registered, a gate's decision, an alias moved). Out: the state that they add
up to. Decided here: aliases are never stored beside the log; they are folded from it, so log and
aliases cannot disagree. An event is added by writing the longer file aside and renaming it: that
rename is the one moment at which anything changes. Every line carries the SHA-256 of the line
before it, so a line changed or removed before the last is found.
"""

import hashlib
import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepicd.errors import PromotionError
from deepicd.files import json_text, write_atomically
from deepicd.records import Challenge, Decision

REGISTERED, GATED, CHALLENGER, WITHDRAWN, PROMOTED, ROLLED_BACK = (
    "registered",
    "gated",
    "challenger",
    "withdrawn",
    "promoted",
    "rolled_back",
)


@dataclass(frozen=True)
class Event:
    """One line of the log."""

    number: int
    """1, 2, 3, … without gaps."""
    time: float
    """Unix time in seconds."""
    kind: str
    """registered, gated, challenger, withdrawn, promoted or rolled_back."""
    version: str
    """The version that the event is about; for a roll-back the version that is champion again."""
    details: Mapping[str, Any]
    """`reason` in words, and what the kind needs: `manifest`, `champion`, `accepted`, `numbers`."""
    previous: str
    """SHA-256 of the line before; empty in the first."""

    @property
    def why(self) -> str:
        """Why it happened, in words."""
        return str(self.details.get("reason") or "; ".join(self.details.get("reasons", ())))


@dataclass
class State:
    """What the events add up to."""

    manifests: dict[str, str] = field(default_factory=dict)
    """Version → SHA-256 of its manifest, in order of registration."""
    aliases: dict[str, str] = field(default_factory=dict)
    """`champion`, `challenger` → version; absent where no version has it."""
    challenge: Challenge | None = None
    """How the challenger is tried."""
    former: list[str] = field(default_factory=list)
    """Champions before the present one, the latest last; a roll-back takes from the end."""


@dataclass(frozen=True)
class Judgement:
    """What came of a comparison that is on record."""

    version: str
    """The candidate that won, or the first one where none did."""
    champion: str | None
    """Whom it was compared with."""
    decision: Decision
    is_promoted: bool
    """Whether it became champion afterwards."""


def read_events(path: Path) -> tuple[Event, ...]:
    """Every event of the log, oldest first; none where there is no log.

    Raises:
        PromotionError: a line was changed, removed or cut off.
    """
    lines = read_lines(path)
    previous = ""
    events = []
    for number, line in enumerate(lines, start=1):
        try:
            event = Event(**json.loads(line))
        # TypeError: it is JSON, and has not the fields of an event.
        except (ValueError, TypeError):
            event = None
        if event is None or (event.number, event.previous) != (number, previous):
            raise PromotionError(
                f"line {number} of {path} does not follow from the one before: the log was edited "
                "or damaged. "
                "Restore the file from a copy; the versions beside it are unharmed."
            )
        events.append(event)
        previous = _digest(line)
    return tuple(events)


def read_lines(path: Path) -> list[str]:
    """The log's lines as they are; none where there is no log."""
    try:
        # Safe although it also splits at U+2028 and the like: JSON is written in ASCII.
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


def append_event(path: Path, kind: str, *, version: str, details: Mapping[str, Any]) -> Event:
    """Add one event and return it. The caller holds the registry's lock."""
    # Checks the chain: nothing is added to a damaged log.
    read_events(path)
    lines = read_lines(path)
    event, line = next_event(lines, kind, version=version, details=details)
    write_atomically(path, "\n".join([*lines, line]) + "\n")
    return event


def next_event(
    lines: Sequence[str], kind: str, *, version: str, details: Mapping[str, Any]
) -> tuple[Event, str]:
    """The event that follows these lines, and its line."""
    event = Event(
        number=len(lines) + 1,
        time=round(time.time(), 3),
        kind=kind,
        version=version,
        details=dict(details),
        previous=_digest(lines[-1]) if lines else "",
    )
    return event, json_text(vars(event), indent=None)


def count_uses(events: Sequence[Event], split: str) -> int:
    """Comparisons that were made on the notes of a promotion split, whatever came of them."""
    return sum(
        event.kind == GATED
        and event.details["split"] == split
        and any(row["use"] for row in _decisions(event).values())
        for event in events
    )


def find_judgement(events: Sequence[Event], names: Collection[str], split: str) -> Judgement | None:
    """The latest judgement of exactly these versions on a promotion split."""
    # From the end: what was promoted after a judgement is seen before it.
    promoted, wanted = set(), (set(names), split)
    for event in reversed(events):
        if event.kind == PROMOTED:
            promoted.add(event.version)
        elif event.kind == GATED and (set(_decisions(event)), event.details["split"]) == wanted:
            champion, is_promoted = event.details["champion"], event.version in promoted
            return Judgement(event.version, champion, _decision(event.details), is_promoted)
    return None


def decision_about(event: Event, version: str, champion: str | None) -> Decision | None:
    """What an event says about a version against a champion; None where it is another one."""
    if event.kind != GATED or event.details["champion"] != champion:
        return None
    row = _decisions(event).get(version)
    return None if row is None else _decision(row)


def _decision(row: Mapping[str, Any]) -> Decision:
    return Decision(row["accepted"], row["reasons"], row["numbers"])


def _decisions(event: Event) -> dict[str, Mapping[str, Any]]:
    """Version → what was decided about it, of an event of the gate."""
    return {event.version: event.details, **event.details["others"]}


def fold(events: Sequence[Event]) -> State:
    """State after all events."""
    state = State()
    for event in events:
        _apply(state, event)
    return state


def _apply(state: State, event: Event) -> None:
    if event.kind == REGISTERED:
        state.manifests[event.version] = event.details["manifest"]
    elif event.kind == CHALLENGER:
        state.challenge = Challenge(
            event.version,
            percent=event.details["percent"],
            is_shadow=event.details["is_shadow"],
        )
        state.aliases["challenger"] = event.version
    elif event.kind == WITHDRAWN:
        _end_challenge(state)
    elif event.kind in {PROMOTED, ROLLED_BACK}:
        if event.kind == ROLLED_BACK:
            # The champion that failed is not put on the list: the next roll-back goes further back.
            state.former.pop()
        elif "champion" in state.aliases:
            state.former.append(state.aliases["champion"])
        state.aliases["champion"] = event.version
        if state.aliases.get("challenger") == event.version:
            _end_challenge(state)


def _end_challenge(state: State) -> None:
    del state.aliases["challenger"]
    state.challenge = None


def _digest(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()
