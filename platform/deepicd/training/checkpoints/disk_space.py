"""Disk space before a checkpoint is written.

In: a trial's folder and its start model. Out: nothing, or after a wait too long an error. Decided
here: a checkpoint takes what the trial's last one took, the first one 16 bytes per parameter
(weights, two Adam moments and the export, float32), and `RESERVE_BYTES` stay free for logs and
reports, so that a full disk stops one trial and corrupts nothing.
"""

import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepicd.checkpoints import total_bytes
from deepicd.errors import CapacityError
from deepicd.training.checkpoints.retention import OnEvent, delete_checkpoint, list_checkpoints

RESERVE_BYTES = 2**26
BYTES_PER_PARAMETER = 16
_POLL_S = 5.0
_REPEAT_S = 60.0


@contextmanager
def disk_space_for(
    checkpoint: Path, model: Path, *, wait_s: float, on_event: OnEvent
) -> Iterator[None]:
    """Write a checkpoint in this block: it begins when there is space.

    Args:
        checkpoint: its folder, in the trial's.
        model: the trial's start model.
        wait_s: longest wait.
        on_event: receives that the trial waits, and for what.

    Raises:
        CapacityError: there was no space, or the disk became full in the middle; what was written
            is removed.
    """
    trial = checkpoint.parent
    trial.mkdir(parents=True, exist_ok=True)
    needed = size_of_next(trial, model)
    _wait_for_disk_space(trial, needed, wait_s=wait_s, on_event=on_event)
    try:
        yield
    except Exception as error:
        # Ray wraps what a worker raises, so the error does not tell; a reserve that is gone does.
        if missing := _missing_bytes(trial, 0):
            delete_checkpoint(checkpoint)
            raise _full_disk(trial, missing, "in the middle of writing it") from error
        raise


def _wait_for_disk_space(trial: Path, needed: int, *, wait_s: float, on_event: OnEvent) -> None:
    """Wait until the disk of `trial` has `needed` bytes and the reserve; what is missing is
    an event, at once and every minute.

    Raises:
        CapacityError: it does not within `wait_s` seconds.
    """
    deadline, told = time.monotonic() + wait_s, -math.inf
    while missing := _missing_bytes(trial, needed):
        now = time.monotonic()
        if now >= deadline:
            raise _full_disk(trial, missing, f"after {wait_s:.0f} s")
        if now - told >= _REPEAT_S:
            told = now
            on_event(
                f"waits: the disk of {trial} lacks {missing:,} bytes for its next checkpoint; it "
                f"goes on when they are free, and fails in {deadline - now:.0f} s"
            )
        time.sleep(min(_POLL_S, deadline - now))
    if told > -math.inf:
        on_event("goes on: the disk has room again")


def _missing_bytes(trial: Path, needed: int) -> int:
    """Bytes that the disk lacks for `needed` more and the reserve; 0 when there is space."""
    return max(0, needed + RESERVE_BYTES - shutil.disk_usage(trial).free)


def size_of_next(trial: Path, model: Path) -> int:
    """Bytes of the trial's next checkpoint; 0 when nothing tells."""
    checkpoints = list_checkpoints(trial)
    if checkpoints:
        return total_bytes(checkpoints[-1])
    return BYTES_PER_PARAMETER * count_parameters(model)


def count_parameters(model: Path) -> int:
    """Numbers in the weight files of a Hugging Face folder."""
    from safetensors import safe_open

    total = 0
    for path in model.glob("*.safetensors"):
        with safe_open(path, framework="numpy") as file:
            total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return total


def _full_disk(trial: Path, missing: int, when: str) -> CapacityError:
    """The error of a trial that found no space."""
    return CapacityError(
        f"the disk of {trial} lacks {missing:,} bytes for a checkpoint, {when}; the checkpoints "
        "before it are whole. Free space and go on with `deepicd sweep resume`, lower "
        "sweep.keep_top, or raise training.disk_wait_s"
    )
