"""What a stage took that did not end: attempts that were killed or interrupted cost as much.

In: a stage that works. Out: `RUN/stages/NAME.interrupted.json`: seconds and GPUs of each attempt
that left no record of a whole stage. Decided here: the file is written while the stage works, so
that kill -9 takes `_BEAT_S` seconds from the account and no more; whoever ends well takes his own
line out again, for the record of the whole stage has it.
"""

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepicd.files import write_json

_log = logging.getLogger(__name__)

_BEAT_S = 5.0


@contextmanager
def counted(file: Path, num_gpus: int, *, beat_s: float = _BEAT_S) -> Iterator[None]:
    """Count the seconds of the block, unless it ends without an error.

    Args:
        file: where they are counted.
        num_gpus: GPUs that the block holds.
        beat_s: seconds between two notes of how long it took so far.
    """
    before, started = _read(file), time.monotonic()

    def note() -> None:
        took = round(time.monotonic() - started, 1)
        _write(file, [*before, {"seconds": took, "gpus": num_gpus}])

    is_over = threading.Event()

    def beat() -> None:
        while not is_over.wait(beat_s):
            note()

    note()
    thread = threading.Thread(target=beat, daemon=True, name="attempt")
    thread.start()
    has_ended = False
    try:
        yield
        has_ended = True
    finally:
        is_over.set()
        thread.join()
        if has_ended:
            _write(file, before)
        else:
            note()


def add_attempt(file: Path, *, seconds: float, num_gpus: int) -> None:
    """Count a stage that was whole and is done again."""
    _write(file, [*_read(file), {"seconds": seconds, "gpus": num_gpus}])


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        attempts: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return attempts


def _write(file: Path, attempts: list[dict[str, Any]]) -> None:
    try:
        if attempts:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, attempts)
        else:
            file.unlink(missing_ok=True)
    except OSError as error:  # a full disk is told by what works there
        _log.debug("%s is not written: %s", file, error)
