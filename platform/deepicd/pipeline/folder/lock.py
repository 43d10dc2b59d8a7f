"""Who works in a run's folder: its lock, how its holder is stopped, and SIGTERM for itself.

In: the lock file of a run. Out: a block that nobody else enters meanwhile, or the end of the
process that is in it.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from deepicd.errors import ConfigError, MissingError, SweepError
from deepicd.files import exclusive_lock, lock_holder, lock_host

_POLL_S = 0.2


@contextmanager
def on_sigterm() -> Iterator[None]:
    """SIGTERM becomes `SystemExit(143)`, so that every `finally` on the way out is run."""

    def leave(*_: object) -> None:
        # As shells tell it: 128 and the signal's number.
        raise SystemExit(128 + signal.SIGTERM)

    # Python lets no other thread set handlers.
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
    """Hold the lock file of a run for the duration of a block.

    Raises:
        SweepError: another process holds it.
        ConfigError: nothing can be written there.
    """
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(exclusive_lock(path, is_waited_for=False))
        except BlockingIOError:
            raise SweepError(
                f"the run in {path.parent} is going on (process {lock_holder(path)}); wait for it, "
                "stop it (deepicd sweep stop NAME), or choose another --name"
            ) from None
        except OSError as error:
            raise ConfigError(
                f"{path.parent} cannot hold a run ({error}); choose another --runs, or make the "
                "folder yours to write in"
            ) from error
        yield


def stop_holder(path: Path, *, timeout_s: float) -> int:
    """End the process that holds the lock file, and wait until it is gone. Returns its id.

    Raises:
        MissingError: nobody holds it.
        SweepError: it has not written its id yet, is of another machine, or is still there after
            `timeout_s`.
    """
    process = lock_holder(path)
    if process is None:
        raise MissingError(f"nothing is going on in {path.parent}; `deepicd sweep status` shows it")
    if process == 0:  # os.kill(0) would end this process and its whole group
        raise SweepError(f"the run in {path.parent} is just starting; try again in a second")
    if (host := lock_host(path)) != socket.gethostname():
        raise SweepError(
            f"the run in {path.parent} goes on at {host} (process {process}); stop it there"
        )
    with suppress(ProcessLookupError):  # it has just ended
        os.kill(process, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while lock_holder(path) is not None:
        if time.monotonic() > deadline:
            raise SweepError(
                f"process {process} is still there after {timeout_s:.0f} s; kill -9 {process} ends "
                "it, and what it started ends with it"
            )
        time.sleep(_POLL_S)
    return process
