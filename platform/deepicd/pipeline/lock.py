"""One process at a time in a run's folder, and who it is.

The lock is the operating system's (`flock`), so it ends with its process, whatever ends that: who
can take it knows that nobody works there.
"""

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepicd.errors import MissingError, SweepError

_POLL_S = 0.2


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
