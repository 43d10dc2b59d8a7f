"""The owner of one driver process, in which trials run one after the other.

In: jobs, one at a time, from the Train worker of the trial that is next. Out: what the driver
reports, message by message (`protocol`). A trial's start costs far more than a step of a small
model (imports, Ray workers, vLLM's engine), so the process stays when a trial ends, and the next
trial reuses its engine (`training.grpo.engine_reuse`). After any fault, after a trial that would
not stop, or for a trial whose engine must be built otherwise, the process is ended and a new one
started.

`Runner` is the class of a Ray actor of the sweep's job and dies with it. The driver dies with its
runner (parent-death signal) and takes verl's Ray job along. See `training.grpo.driver`, and `pool`
for which runner a trial takes.
"""

import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Literal

from deepicd.errors import TrainingError
from deepicd.training.process.protocol import (
    Ended,
    Failed,
    Job,
    Message,
    OtherEngine,
    Ready,
    Stage,
    Start,
    Step,
    Stop,
    Stopped,
    TrialEnd,
    decode,
    encode,
)
from deepicd.training.process.scratch import Scratch

_SCRATCH_PREFIX = "deepicd-runner-"
"""How the names of the runners' folders for temporary files begin."""
_DRIVER = ("-m", "deepicd.training.grpo.driver")
_STOP_TIMEOUT_S = 120.0
_POLL_S = 1.0

State = Literal["own", "idle", "empty", "stopping", "busy"]
"""How ready a runner is for a trial, the readiest first: it runs that trial; its driver has no
trial; it has no driver; its trial was told to stop; it runs another one."""


class Runner:
    """One driver process at most, and the trial that runs in it."""

    def __init__(self) -> None:
        self._scratch = Scratch(_SCRATCH_PREFIX)
        self._driver: _Driver | None = None
        self._job: Job | None = None
        self._is_over = True
        self._has_old_driver = False
        """Whether the driver was there before this trial, which has not reached its first step."""
        self._is_stopping = False

    def state(self, name: str) -> State:
        """How ready this runner is for trial `name`."""
        if not self._is_over and self._job is not None:
            if self._job.name == name:
                return "own"
            return "stopping" if self._is_stopping else "busy"
        return "empty" if self._driver is None else "idle"

    def begin(self, job: Job) -> bool:
        """Start a trial, unless another one runs here that nobody has told to stop. One that was
        told is waited for, and so is an earlier start of the same trial.
        """
        if self.state(job.name) == "busy":
            return False
        self._stop_current()
        self._is_stopping = False
        self._job = job
        self._is_over = False
        self._has_old_driver = self._driver is not None
        self._start()
        return True

    def next_message(self, name: str) -> Message | None:
        """What trial `name` reports next; None when nothing came within a second.

        One of `TrialEnd` ends it. A trial that another one has replaced here is `Stopped`; one
        whose runner was lost, and started again elsewhere, is told so.
        """
        if self._job is None:
            # A runner that Ray restarted elsewhere has no job. With `lost` it is an interruption,
            # which is not charged to the trial.
            return Failed("RunnerLost", "", ("the node of its runner was lost",))
        if self._job.name != name or self._is_over:
            return Stopped()
        # A trial that is not over has a driver: whoever ends it starts another, or ends the trial.
        assert self._driver is not None
        message = self._driver.next(timeout_s=_POLL_S)
        if message is None:
            return None
        if self._has_old_driver and isinstance(message, OtherEngine | Failed | Ended):
            self._has_old_driver = False  # a fault before its first step is not this trial's
            self._end_driver()
            self._start()
            return Stage("starting anew")
        self._has_old_driver = self._has_old_driver and not isinstance(message, Ready)
        self._note(message)
        return message

    def stop(self, name: str) -> None:
        """Tell trial `name`, if it runs here, to stop after its step; does not wait."""
        if self._driver is not None and self._job is not None and self._job.name == name:
            self._is_stopping = True
            self._driver.send(Stop())

    def abandon(self, name: str) -> None:
        """End the driver of trial `name`, if it runs here, without waiting for anything."""
        if self.state(name) == "own":
            self._end_driver()
            self._is_over = True

    def close(self) -> None:
        """End the driver and remove what it left."""
        # Without patience: the sweep is over, and nobody waits for the step.
        self._stop_current(patience_s=0.0)
        self._end_driver()
        self._scratch.remove()

    def _note(self, message: Message) -> None:
        self._is_over = isinstance(message, TrialEnd)
        if isinstance(message, Failed | Ended):  # what is left of it is not to be trusted
            self._end_driver()

    def _stop_current(self, *, patience_s: float | None = None) -> None:
        """Until the running trial is over, by the end of its driver where it does not stop.

        What it still reports reaches nobody, so its checkpoints are removed.
        """
        if self._driver is None or self._is_over:
            return
        self._driver.send(Stop())
        # Its step may end: a driver that is killed costs the next trial a start of verl.
        patience_s = _STOP_TIMEOUT_S if patience_s is None else patience_s
        deadline = time.monotonic() + patience_s
        while not self._is_over and self._driver is not None:
            message = self._driver.next(timeout_s=min(_POLL_S, patience_s))
            if message is not None:
                if isinstance(message, Step) and message.checkpoint is not None:
                    shutil.rmtree(message.checkpoint, ignore_errors=True)
                self._note(message)
            elif time.monotonic() > deadline:
                self._end_driver()
        self._is_over = True

    def _start(self) -> None:
        """Hand the job to the driver, to a new one where there is none."""
        assert self._job is not None
        if self._driver is None:
            self._driver = _Driver(self._job, self._scratch.path)
        self._driver.send(Start(self._job))

    def _end_driver(self) -> None:
        if self._driver is not None:
            self._driver.kill()
            self._driver = None


class _Driver:
    """The process: messages to its standard input, messages from a pipe."""

    def __init__(self, job: Job, scratch: Path) -> None:
        # A pipe of its own: verl, Ray and vLLM print on standard output, which is the log.
        reader, writer = os.pipe()
        temporary = {"TMPDIR": str(scratch)}
        with job.log.open("ab") as log:
            self._popen = subprocess.Popen(
                [sys.executable, *_DRIVER, str(writer), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(writer,),
                # The folder last: neither this actor's environment nor the profile may name one.
                env={**_driver_env(os.environ), **job.env, **temporary},
            )
        os.close(writer)  # else the pipe would not end with the process
        self._messages: queue.Queue[Message] = queue.Queue()
        pipe = os.fdopen(reader, encoding="utf-8")
        threading.Thread(target=self._read, args=(pipe,), daemon=True).start()

    def _read(self, pipe: IO[str]) -> None:
        with pipe:
            for line in pipe:
                if not line.endswith("\n"):  # killed in the middle of it; `Ended` says so
                    break
                try:
                    self._messages.put(decode(line))
                except TrainingError as error:
                    self._messages.put(Failed(type(error).__name__, str(error)))
        self._messages.put(Ended(self._popen.wait()))

    def send(self, message: Message) -> None:
        """Write a line; a process that is gone says so by its last message."""
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(encode(message).encode())
            self._popen.stdin.flush()
        except BrokenPipeError:
            return

    def next(self, *, timeout_s: float) -> Message | None:
        """Next message, or None when none came in time."""
        try:
            return self._messages.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def kill(self) -> None:
        """End it; the kernel and Ray free what it holds."""
        # Waited for, or it stays a zombie for as long as the actor lives.
        self._popen.kill()
        self._popen.wait()


def _driver_env(env: Mapping[str, str]) -> dict[str, str]:
    """This actor's environment without what makes Ray take the child for a part of its job."""
    own = (
        "RAY_JOB_ID",
        "RAY_JOB_CONFIG_JSON_ENV_VAR",
        "RAY_RAYLET_PID",
        "RAY_WORKER_ID",
        "RAY_ADDRESS",
    )
    return {key: value for key, value in env.items() if key not in own}
