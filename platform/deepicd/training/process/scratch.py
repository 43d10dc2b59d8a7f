"""A folder for temporary files that does not outlive its owner by much.

In: nothing. Out: a folder under the machine's temporary one. vLLM and torch leave sockets, locks
and rendezvous files in the temporary folder of a process that is killed; here that folder is one of
ours. It is removed by `remove`, and one whose owner was killed is removed by the next owner on the
machine: an owner holds a lock on a file in it for as long as it lives.
"""

import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

from deepicd.files import exclusive_lock, is_held

_LOCK = ".owner"


class Scratch:
    """A new folder; folders of owners that are gone are removed first."""

    def __init__(self, prefix: str) -> None:
        remove_stale(prefix)
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        self._lock = ExitStack()
        self._lock.enter_context(exclusive_lock(self.path / _LOCK))

    def remove(self) -> None:
        """Remove the folder and all in it; a second call changes nothing.

        Where a process that is about to end writes to it meanwhile, the next owner removes it.
        """
        shutil.rmtree(self.path, ignore_errors=True)
        if self.path.is_dir():
            # Without a lock file the next owner would take it for one that is being made.
            (self.path / _LOCK).touch()
        self._lock.close()


def remove_stale(prefix: str) -> list[Path]:
    """Remove this user's folders of that prefix whose owners are gone; returns them."""
    stale = [
        folder
        for folder in sorted(Path(tempfile.gettempdir()).glob(f"{prefix}*"))
        if folder.is_dir() and folder.stat().st_uid == os.getuid() and _is_free(folder / _LOCK)
    ]
    for folder in stale:
        shutil.rmtree(folder, ignore_errors=True)
    return stale


def _is_free(lock: Path) -> bool:
    """Whether nobody holds the lock; False where there is none yet."""
    try:
        return not is_held(lock)
    except OSError:
        return False
