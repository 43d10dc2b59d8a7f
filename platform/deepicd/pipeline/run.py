"""One run in progress: its experiment, its folder, the seconds its stages took."""

import fcntl
import json
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deepicd.config import Experiment
from deepicd.errors import MissingError, SweepError
from deepicd.paths import RunPaths

_log = logging.getLogger(__name__)

_POLL_S = 0.2

STAGES = (
    "notes",
    "model",
    "sft",
    "baselines",
    "sweep",
    "evaluation",
    "promotion",
    "serving",
    "monitoring",
    "report",
)


@dataclass
class Run:
    """What every stage is given."""

    experiment: Experiment
    paths: RunPaths
    seconds: dict[str, float] = field(default_factory=dict)
    """Stage → how long it took."""

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        """Time a stage and log where the run is."""
        _log.info(f"[{STAGES.index(name) + 1}/{len(STAGES)}] {name}: {what}")
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 1)
        self.detail(f"{name} took {self.seconds[name]:.0f} s")

    def detail(self, line: str) -> None:
        """One line about the stage that is going on."""
        _log.info("       %s", line)


def prepare_root(root: Path) -> Path:
    """An empty folder for the run; what an earlier run left there is kept beside it."""
    root = root.resolve()
    if root.exists():
        kept = root.with_name(f"{root.name}.previous")
        shutil.rmtree(kept, ignore_errors=True)
        root.rename(kept)
        _log.info(f"started anew; the earlier run is kept in {kept}")
    root.mkdir(parents=True)
    return root


@contextmanager
def on_sigterm() -> Iterator[None]:
    """SIGTERM becomes `SystemExit(143)`, so that every `finally` on the way out is run."""

    def leave(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file for the duration of a block.

    Raises:
        SweepError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SweepError(
                f"the run in {path.parent} is going on (process {holder(path)}); wait for it, stop "
                "it (deepicd sweep stop NAME), or choose another --name"
            ) from None
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid()}))
        file.flush()
        yield


def holder(path: Path) -> int | None:
    """Process that holds the lock file, None when nobody does."""
    if not path.is_file():
        return None
    with path.open("r", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(json.loads(file.read() or '{"pid": 0}')["pid"])
    return None


def stop_holder(path: Path, *, timeout_s: float) -> int:
    """End the process that holds the lock file, and wait until it is gone. Returns its id.

    Raises:
        MissingError: nobody holds it.
        SweepError: it is still there after `timeout_s`.
    """
    process = holder(path)
    if process is None:
        raise MissingError(f"nothing is going on in {path.parent}; `deepicd sweep status` shows it")
    os.kill(process, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while holder(path) is not None:
        if time.monotonic() > deadline:
            raise SweepError(
                f"process {process} is still there after {timeout_s:.0f} s; kill -9 {process} ends "
                "it, and what it started ends with it"
            )
        time.sleep(_POLL_S)
    return process
