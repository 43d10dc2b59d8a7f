"""A warm slot: the owner of one verl process that serves one trial after the other.

In: jobs, one at a time, from the Train worker of the trial that is next. Out: what the process
reports, message by message. A trial's start costs far more than a step of a small model (imports,
Ray workers, vLLM's engine), so the process stays when a trial ends and the next one starts in it
(`training.grpo.engine_reuse`). After any fault, after a trial that would not stop, or for a trial
whose engine must be built otherwise, the process is ended and a new one started: a cold start.

A slot is a Ray actor of the sweep's job (`Slot` is its class) and dies with it; the process it owns
dies with the slot (parent-death signal) and takes verl's Ray job along. See `training.grpo.driver`,
and `training.pool` for which slot a trial takes.
"""

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Literal

from deepicd.training.process.protocol import Job, read_job, write_job
from deepicd.training.process.scratch import Scratch

OVER = ("done", "stopped", "error", "ended")
"""Kinds of message after which a trial is over."""

_DRIVER = ("-m", "deepicd.training.grpo.driver")
_STOP_TIMEOUT_S = 120.0
_POLL_S = 1.0

Message = dict[str, Any]
State = Literal["own", "warm", "empty", "stopping", "busy"]


class Slot:
    """One verl process at most, and the trial that runs in it."""

    def __init__(self) -> None:
        self._scratch = Scratch("deepicd-slot-")
        self._process: _Process | None = None
        self._job: Job | None = None
        self._is_over = True
        self._is_inherited = False
        self._is_stopping = False

    def state(self, name: str) -> State:
        """How ready this slot is for trial `name`."""
        if not self._is_over and self._job is not None:
            if self._job.name == name:
                return "own"
            return "stopping" if self._is_stopping else "busy"
        return "empty" if self._process is None else "warm"

    def begin(self, job: Mapping[str, Any]) -> bool:
        """Start a trial, unless another one runs here that nobody has told to stop. One that was
        told is waited for, and so is an earlier start of the same trial.
        """
        if self.state(job["name"]) == "busy":
            return False
        self._stop_current()
        self._is_stopping = False
        self._job = Job(**job)
        self._is_over = False
        self._is_inherited = self._process is not None
        self._start()
        return True

    def next_message(self, name: str) -> Message | None:
        """What trial `name` reports next; None when nothing came within a second.

        Kinds: `stage`, `ready` and `step` while it runs; one of `OVER` ends it, `ended` when the
        process is gone without a word. A trial that another one has replaced here is `stopped`; one
        whose slot was lost, and started again elsewhere, is told so.
        """
        if self._job is None:
            return {"kind": "error", "lost": ["the node of its slot was lost"]}
        if self._job.name != name or self._is_over:
            return {"kind": "stopped"}
        assert self._process is not None
        message = self._process.next(timeout_s=_POLL_S)
        if message is None:
            return None
        if self._is_inherited and message["kind"] in ("cold", "error", "ended"):
            self._is_inherited = False  # a fault before its first step is not this trial's
            self._end_process()
            self._start()
            return {"kind": "stage", "name": "starting anew"}
        self._is_inherited = self._is_inherited and message["kind"] != "ready"
        self._note(message)
        return message

    def stop(self, name: str) -> None:
        """Tell trial `name`, if it runs here, to stop after its step; does not wait."""
        if self._process is not None and self._job is not None and self._job.name == name:
            self._is_stopping = True
            self._process.send({"kind": "stop"})

    def abandon(self, name: str) -> None:
        """End the process of trial `name`, if it runs here, without waiting for anything."""
        if self.state(name) == "own":
            self._end_process()
            self._is_over = True

    def close(self) -> None:
        """End the process and remove what it left."""
        self._stop_current(patience_s=0.0)
        self._end_process()
        self._scratch.remove()

    def _note(self, message: Message) -> None:
        self._is_over = message["kind"] in OVER
        if message["kind"] in ("error", "ended"):  # what is left of it is not to be trusted
            self._end_process()

    def _stop_current(self, *, patience_s: float | None = None) -> None:
        """Until the running trial is over, by the end of its process where it does not stop.

        What it still reports reaches nobody, so its checkpoints are removed.
        """
        if self._process is None or self._is_over:
            return
        self._process.send({"kind": "stop"})
        patience_s = _STOP_TIMEOUT_S if patience_s is None else patience_s
        deadline = time.monotonic() + patience_s
        while not self._is_over and self._process is not None:
            message = self._process.next(timeout_s=min(_POLL_S, patience_s))
            if message is not None:
                if checkpoint := message.get("checkpoint"):
                    shutil.rmtree(checkpoint, ignore_errors=True)
                self._note(message)
            elif time.monotonic() > deadline:
                self._end_process()
        self._is_over = True

    def _start(self) -> None:
        """Hand the job to the process, to a new one where there is none."""
        assert self._job is not None
        path = self._scratch.path / "job.json"
        write_job(self._job, path)
        if self._process is None:
            self._process = _Process(path, self._scratch.path)
        self._process.send({"kind": "start", "job": str(path)})

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process = None


class _Process:
    """The process: lines of JSON to its standard input, lines of JSON from a pipe."""

    def __init__(self, job_file: Path, scratch: Path) -> None:
        reader, writer = os.pipe()
        job = read_job(job_file)
        temporary = {"TMPDIR": str(scratch)}
        with Path(job.log).open("ab") as log:
            self._popen = subprocess.Popen(
                [sys.executable, *_DRIVER, str(writer), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(writer,),
                env={**driver_env(os.environ), **job.env, **temporary},
            )
        os.close(writer)
        self._messages: queue.Queue[Message] = queue.Queue()
        pipe = os.fdopen(reader, encoding="utf-8")
        threading.Thread(target=self._read, args=(pipe,), daemon=True).start()

    def _read(self, pipe: IO[str]) -> None:
        for line in pipe:
            self._messages.put(json.loads(line))
        self._messages.put({"kind": "ended", "code": self._popen.wait()})

    def send(self, message: Message) -> None:
        """Write a line; a process that is gone says so by its last message."""
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(json.dumps(message).encode() + b"\n")
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
        self._popen.kill()
        self._popen.wait()


def driver_env(env: Mapping[str, str]) -> dict[str, str]:
    """This actor's environment without what makes Ray take the child for a part of its job."""
    own = (
        "RAY_JOB_ID",
        "RAY_JOB_CONFIG_JSON_ENV_VAR",
        "RAY_RAYLET_PID",
        "RAY_WORKER_ID",
        "RAY_ADDRESS",
    )
    return {key: value for key, value in env.items() if key not in own}
