"""Is a trial still alive? What it reported last, and how long it may stay silent.

In: the messages of a trial. Out: the stage that it is in, kept in a file of the trial's folder for
whoever looks at the sweep, and the reason why it must be taken for hung. Decided here: a trial may
be silent for `training.hang_timeout_s`, or ten times its longest step if that is more; four times
as long while verl and vLLM start. After some seconds of silence its nodes are looked at: verl waits
for ever for rollouts of one that is gone. Waiting for capacity of the cluster has a limit of its
own (`training.process.placement`). What ends a trial is its own failure, or an interruption that is
not charged to it.
"""

import json
import time
from contextlib import suppress
from pathlib import Path

from deepicd.clusters.state import describe_lost, nodes_of, pending_actors
from deepicd.errors import TrainingError
from deepicd.paths import STAGE
from deepicd.training.process.protocol import (
    Done,
    Ended,
    Failed,
    Job,
    Message,
    Ready,
    Stage,
    Step,
    Stopped,
    TrialEnd,
)

_STEPS = 10
# A start imports verl in about ten processes, and vLLM builds its engine.
_STARTS = 4
_LOOK_S = 20.0
"""Silence after which a trial's nodes are looked at, and time between two looks."""
_LOG_TAIL_LINES = 15


class Watchdog:
    """Watches one start of a trial."""

    def __init__(self, folder: Path, *, hang_timeout_s: float) -> None:
        self._file = folder / STAGE
        self._hang_timeout_s = hang_timeout_s
        self._ray_job = ""
        self._step, self._longest_s = 0, 0.0
        self._is_ready = False
        self._heard = self._stepped = self._looked = time.monotonic()
        self._nodes: set[str] = set()
        self._note("starting")

    def hear(self, message: Message) -> None:
        """Take a message of the trial into account."""
        now = self._heard = time.monotonic()
        # Other kinds end the trial; that they came is all that counts.
        match message:
            case Stage(name, ray_job):
                self._ray_job = ray_job or self._ray_job
                self._note(name)
            case Ready():
                self._ray_job = message.ray_job
                self._is_ready, self._stepped = True, now
                # While all of its actors live: on a node that is gone none would be found.
                self._look()
                self._note("rollout")
            case Step():
                self._longest_s = max(self._longest_s, now - self._stepped)
                self._step, self._stepped = message.step, now
                self._note("rollout")

    def patience_s(self) -> float:
        """How long the trial may be silent now, in seconds."""
        if not self._is_ready:
            return _STARTS * self._hang_timeout_s
        return max(self._hang_timeout_s, _STEPS * self._longest_s)

    def overdue(self) -> str | None:
        """Why the trial must be taken for hung or lost; None while it is within its time."""
        now = time.monotonic()
        silent_s = now - self._heard
        if silent_s > _LOOK_S and now - self._looked > _LOOK_S and (lost := self._look()):
            return "; ".join(lost)
        if silent_s <= self.patience_s():
            return None
        cause = f"hung: silent for {silent_s:.0f} s in stage {self.stage!r} after step {self._step}"
        pending = pending_actors(self._ray_job) if self._ray_job else []
        return f"{cause}; {', '.join(pending)}" if pending else cause

    def _look(self) -> list[str]:
        """What became of nodes that the trial had actors on; remembers those it has them on."""
        self._looked = time.monotonic()
        if not self._ray_job:
            return []
        self._nodes |= nodes_of(self._ray_job)
        return describe_lost(self._nodes)

    def _note(self, stage: str) -> None:
        self.stage = stage
        record = {"stage": stage, "step": self._step, "since": round(time.time(), 1)}
        with suppress(OSError):  # a full disk must not end a trial that only says where it is
            self._file.write_text(json.dumps(record) + "\n", encoding="utf-8")


def conclude(end: TrialEnd, job: Job) -> str | None:
    """What the last message of a trial means: None for its end, or what interrupted it.

    Raises:
        TrainingError: it failed or was stopped.
    """
    match end:
        case Done():
            return None
        case Stopped():
            raise TrainingError(f"trial {job.name} was stopped before its last step")
        case Ended(code):
            raise TrainingError(
                f"verl's process ended with code {code} before training was done. "
                f"Last lines of {job.log}:\n{_log_tail(job.log)}"
            )
        case Failed(kind, message, lost):
            if lost:
                return "; ".join(lost)
            raise TrainingError(f"verl run failed: {kind}: {message} (log: {job.log})")


def _log_tail(log: Path) -> str:
    """Last lines of a trial's log; verl prints numbers and configuration there, never a note."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-_LOG_TAIL_LINES:])
