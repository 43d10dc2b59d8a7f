"""Whether somebody holds a file or folder, by the operating system's lock (`flock`).

The lock ends with its owner's process, whatever ends that.
"""

import fcntl
import os
from pathlib import Path


def is_held(path: Path) -> bool:
    """Whether another open descriptor holds the lock of a file or folder, which must exist."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
