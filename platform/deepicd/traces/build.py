"""Training notes and a teacher → a file of verified traces, with its card.

In: notes, settings, how many. Out: a Parquet file of `trace_file.COLUMNS`, `NAME.card.json`.
Decided here:

- Outcomes are settled in the order in which attempts were made, whichever reply comes first, so
  that the same replies give the same file.
- Each outcome is a line of the part file before the next is settled. A build that was killed goes
  on there, and asks nothing that was answered.
- A request without a reply is no refused trace: it is made again, `_MAX_REPEATS` times for a note.
  Several in a row (`traces.max_failures`) are a teacher that is down, and end the build.
"""

import asyncio
import hashlib
import logging
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepicd.config import TEACHER_PATIENCE, TracesConfig
from deepicd.errors import DataError, TeacherError
from deepicd.files import require_yes, write_json
from deepicd.notes.identity import identify_codes
from deepicd.records import Note
from deepicd.traces.card import Tally, card_path, hash_notes, make_card
from deepicd.traces.part_file import Outcome, PartFile
from deepicd.traces.prompt import teacher_messages
from deepicd.traces.schedule import Attempt, Schedule
from deepicd.traces.teacher import EndpointTeacher, Reply, Teacher
from deepicd.traces.trace_file import write_traces
from deepicd.traces.verifier import Verifier

_log = logging.getLogger(__name__)
_MAX_REPEATS = 3
"""Requests without a reply after which a note is asked about no more."""
_REPORT_S = 10.0
"""Seconds between two lines about the progress."""


def build_from_teacher(
    notes: Sequence[Note],
    out: Path,
    settings: TracesConfig,
    *,
    num_traces: int,
    seed: int,
    may_replace: bool = False,
) -> dict[str, Any]:
    """Ask the teacher until `num_traces` are accepted or every note was tried; write file and card.

    Args:
        notes: training notes.
        out: Parquet file; the card and the part file lie beside it.
        settings: of teacher and verification.
        num_traces: accepted traces, at most.
        seed: of the order and of the samples.
        may_replace: whether what lies there may go.

    Returns:
        The card.

    Raises:
        ConfigError: something lies there that may not go, or the endpoint refuses key or model.
        DataError: there is no note.
        TeacherError: the teacher does not answer; what it wrote is kept, and the same call goes on.
    """
    if not notes:
        raise DataError("there is no training note to write a trace for; build more notes")
    part = out.with_name(f"{out.name}.part")
    if not part.exists():
        at_stake = f"{out} exists, and would be replaced" if out.exists() else ""
        require_yes(at_stake, is_given=may_replace, instead="choose another place (--out)")
    identity = _identify(notes, settings, seed=seed)
    with PartFile(part, identity, may_replace=may_replace) as file:
        build = _Build(notes, file, settings, num_traces=num_traces, seed=seed)
        tally = asyncio.run(build.run(EndpointTeacher(settings)))
        write_traces(build.traces, out)
        card = make_card(tally, notes, out, settings=settings, seed=seed)
        write_json(card_path(out), card, sort_keys=False)
        file.remove()
    return card


def _identify(notes: Sequence[Note], settings: TracesConfig, *, seed: int) -> dict[str, Any]:
    """What decides the outcomes of a build."""
    rows = [{"note_id": note.note_id} for note in notes]
    return {
        "notes": hash_notes(rows, notes),
        "codes": identify_codes(),
        "settings": settings.model_dump(mode="json", exclude=set(TEACHER_PATIENCE)),
        "seed": seed,
    }


class _Build:
    """One build, from its part file on."""

    def __init__(
        self,
        notes: Sequence[Note],
        file: PartFile,
        settings: TracesConfig,
        *,
        num_traces: int,
        seed: int,
    ) -> None:
        self._notes = notes
        self._file = file
        self._settings = settings
        self._seed = seed
        self._num_traces = num_traces
        self._schedule = Schedule(
            [note.code for note in notes],
            num_traces=num_traces,
            samples_per_note=settings.samples_per_note,
            max_per_label=settings.max_per_label,
            seed=seed,
        )
        self._verifier = Verifier(settings)
        self._known = {(one.note_id, one.sample): one for one in file.outcomes}
        self._outcomes: list[Outcome] = []
        self.traces: list[dict[str, str]] = []
        self._progress = _Progress(num_traces)
        self._failures: Counter[int] = Counter()
        self._num_failed = self._num_in_a_row = self._num_dropped = 0

    async def run(self, teacher: Teacher) -> Tally:
        """Ask until enough is accepted or nothing is left."""
        pending: deque[tuple[Attempt, asyncio.Task[Reply | Outcome]]] = deque()
        try:
            while True:
                self._fill(pending, teacher)
                if not pending:
                    break
                # The oldest one, though others may have their replies already.
                attempt, task = pending.popleft()
                self._settle(attempt, await task)
        finally:
            for _, task in pending:
                task.cancel()
            await asyncio.gather(*(task for _, task in pending), return_exceptions=True)
            await teacher.close()
        return Tally(self._outcomes, self._num_failed, self._num_dropped)

    def _fill(
        self, pending: "deque[tuple[Attempt, asyncio.Task[Reply | Outcome]]]", teacher: Teacher
    ) -> None:
        while len(pending) < self._settings.max_concurrent and (attempt := self._schedule.take()):
            pending.append((attempt, asyncio.create_task(self._ask(attempt, teacher))))

    async def _ask(self, attempt: Attempt, teacher: Teacher) -> Reply | Outcome:
        """What the part file knows of an attempt, else the teacher's reply."""
        note = self._notes[attempt.row]
        known = self._known.get((note.note_id, attempt.sample))
        if known is not None:
            return known
        seed = _seed_of(self._seed, note, attempt.sample)
        return await teacher.ask(teacher_messages(note, self._settings), seed=seed)

    def _settle(self, attempt: Attempt, answer: Reply | Outcome) -> None:
        note = self._notes[attempt.row]
        if isinstance(answer, Outcome):
            if not answer.reason:
                self._verifier.remember(answer.response)
            self._keep(attempt, note, answer)
        elif answer.text is None:
            self._fail(attempt, answer)
        else:
            self._num_in_a_row = 0
            outcome = self._judge(attempt, note, answer)
            self._file.append(outcome)
            self._keep(attempt, note, outcome)
            self._progress.report(self._schedule.num_accepted, len(self._outcomes))

    def _judge(self, attempt: Attempt, note: Note, reply: Reply) -> Outcome:
        reason, response = self._verifier.check(reply.text or "", note)
        return Outcome(
            note.note_id,
            attempt.sample,
            reason,
            response,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            seconds=self._progress.lap(),
        )

    def _keep(self, attempt: Attempt, note: Note, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        if outcome.reason:
            self._schedule.refuse(attempt)
            return
        self._schedule.accept(attempt)
        self.traces.append(_row(note, outcome.response))

    def _fail(self, attempt: Attempt, reply: Reply) -> None:
        """No reply: ask again later, give the note up, or give the teacher up."""
        self._num_failed += 1
        self._failures[attempt.row] += 1
        # A request that will never do is the note's fault, unless none has ever done.
        self._num_in_a_row += not (reply.is_final and self._outcomes)
        if self._num_in_a_row >= self._settings.max_failures:
            raise TeacherError(
                f"the teacher gave no reply {self._num_in_a_row} times in a row (last: "
                f"{reply.failure}); "
                f"{self._schedule.num_accepted} accepted traces are kept in {self._file.path}; "
                "start it, or raise traces.timeout_s, and give the same command again"
            )
        if not reply.is_final and self._failures[attempt.row] < _MAX_REPEATS:
            self._schedule.put_back(attempt)
            return
        self._num_dropped += 1
        self._schedule.drop(attempt)


class _Progress:
    """Lines about how far a build is, and how long the rest will take."""

    def __init__(self, num_traces: int) -> None:
        self._num_traces = num_traces
        self._began = self._told = self._lap = time.monotonic()
        self._num_before: int | None = None

    def lap(self) -> float:
        """Seconds since the last call."""
        now = time.monotonic()
        seconds, self._lap = now - self._lap, now
        return seconds

    def report(self, num_accepted: int, num_asked: int) -> None:
        """Log a line now and then."""
        if self._num_before is None:
            self._num_before = num_accepted - 1
        now = time.monotonic()
        if now - self._told < _REPORT_S:
            return
        self._told = now
        new = num_accepted - self._num_before
        left = (self._num_traces - num_accepted) * (now - self._began) / new if new else None
        _log.info(
            "%d of %d traces, %d of %d replies refused, %s",
            num_accepted,
            self._num_traces,
            num_asked - num_accepted,
            num_asked,
            "time left unknown" if left is None else f"at most {max(1, round(left / 60))} min left",
        )


def _seed_of(seed: int, note: Note, sample: int) -> int:
    """The seed of one attempt: 31 bits, which every server takes."""
    digest = hashlib.sha256(f"{seed}:{note.note_id}:{sample}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


def _row(note: Note, response: str) -> dict[str, str]:
    return {
        "note_id": note.note_id,
        "patient_id": note.patient_id,
        "code": note.code,
        "response": response,
    }


def outcome_of(card: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """What `deepicd traces build` prints of a card."""
    names = (
        *("accepted", "refused", "asked", "failed_requests", "unanswered_notes"),
        *("prompt_tokens", "completion_tokens", "cost", "seconds"),
    )
    shown = {name: card[name] for name in names}
    return {**shown, "out": str(out), "card": str(card_path(out))}
