"""Which note a teacher is asked about next: label by label, up to a number of attempts a note.

In: codes of notes, a seed, limits. Out: `Attempt`s. Decided here: labels take turns, so that each
has as many attempts as its notes allow; within a label the seed orders the notes, and a note whose
attempt was refused is asked about again before the label's next one. What comes next depends on
what was accepted and refused before, and on nothing else, so that a build that goes on asks what an
unbroken one would have asked. Pure.
"""

import heapq
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Attempt:
    """One request to the teacher."""

    row: int
    """Row of the note."""
    sample: int
    """Number of the attempt at this note, from 0."""


class Schedule:
    """Hands out attempts until so many traces are accepted, or nothing is left to ask."""

    def __init__(
        self,
        codes: Sequence[str],
        *,
        num_traces: int,
        samples_per_note: int,
        max_per_label: int,
        seed: int,
    ) -> None:
        self._codes = codes
        self._num_traces = num_traces
        self._samples_per_note = samples_per_note
        self._max_per_label = max_per_label or num_traces
        rng = Random(seed)
        rows = list(range(len(codes)))
        rng.shuffle(rows)
        self._waiting: dict[str, deque[Attempt]] = {}
        for row in rows:
            self._waiting.setdefault(codes[row], deque()).append(Attempt(row, 0))
        # The rank of a label decides between labels that had as many turns.
        self._ranks = {code: rank for rank, code in enumerate(self._waiting)}
        self._turns: Counter[str] = Counter()
        self._queue = [(0, rank, code) for code, rank in self._ranks.items()]
        self._queued = set(self._ranks)
        self._accepted: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()

    @property
    def num_accepted(self) -> int:
        """Traces accepted so far."""
        return self._accepted.total()

    def take(self) -> Attempt | None:
        """The next attempt; None where those that are asked may be enough, or nothing is left."""
        if self.num_accepted + self._asked.total() >= self._num_traces:
            return None
        while self._queue:
            _, _, code = heapq.heappop(self._queue)
            self._queued.discard(code)
            if not self._is_open(code):
                continue  # comes back when one of its attempts ends without a trace
            attempt = self._waiting[code].popleft()
            self._turns[code] += 1
            self._asked[code] += 1
            self._enqueue(code)
            return attempt
        return None

    def accept(self, attempt: Attempt) -> None:
        """The attempt gave a trace; its note is done."""
        code = self._codes[attempt.row]
        self._asked[code] -= 1
        self._accepted[code] += 1

    def refuse(self, attempt: Attempt) -> None:
        """The attempt gave none; the note is asked about again, if it may be."""
        if attempt.sample + 1 < self._samples_per_note:
            self._waiting[self._codes[attempt.row]].appendleft(
                Attempt(attempt.row, attempt.sample + 1)
            )
        self._end(attempt)

    def put_back(self, attempt: Attempt) -> None:
        """The attempt had no reply; it is made again behind the label's other notes."""
        self._waiting[self._codes[attempt.row]].append(attempt)
        self._end(attempt)

    def drop(self, attempt: Attempt) -> None:
        """The note has no reply at all and is asked about no more."""
        self._end(attempt)

    def _end(self, attempt: Attempt) -> None:
        code = self._codes[attempt.row]
        self._asked[code] -= 1
        self._enqueue(code)

    def _enqueue(self, code: str) -> None:
        if code not in self._queued and self._waiting[code]:
            self._queued.add(code)
            heapq.heappush(self._queue, (self._turns[code], self._ranks[code], code))

    def _is_open(self, code: str) -> bool:
        held = self._accepted[code] + self._asked[code]
        return bool(self._waiting[code]) and held < self._max_per_label
