"""What happens to a trial besides its metrics: a checkpoint that is skipped, a disk that is full.

In: a line from whichever process of the trial has something to report. Out: the line in the trial's
`events.log`, which `sweeps.callbacks.progress` shows on the screen, and in its log. Decided here:
an event that cannot be written never fails a trial; on a disk without a byte left it is lost.
"""

from contextlib import suppress
from pathlib import Path

from deepicd.paths import events_file

LOG = "verl.log"
"""Name of a trial's log in its folder."""


def record_event(trial: Path, line: str) -> None:
    """Note what happened to the trial whose folder this is."""
    with suppress(OSError):
        trial.mkdir(parents=True, exist_ok=True)
        for path in (events_file(trial), trial / LOG):
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{' '.join(line.split())}\n")


def read_events(trial: Path, start: int = 0) -> tuple[list[str], int]:
    """Whole lines from byte `start` on, and the byte after them."""
    path = events_file(trial)
    if not path.is_file():
        return [], start
    with path.open("rb") as file:
        file.seek(start)
        whole = file.read().rpartition(b"\n")[0]
    lines = whole.decode("utf-8", errors="replace").splitlines()
    return lines, start + (len(whole) + 1 if whole else 0)
