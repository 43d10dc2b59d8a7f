"""Files and folders that a killed writer leaves whole: atomic writes, replaced folders, locks.

Decided here: what is written stands beside its target until it is on disk, and is then renamed. A
lock is the operating system's (`flock`), so it ends with its owner's process, whatever ends that.
"""

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepicd.errors import ConfigError


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


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` by `text`: written aside, flushed, renamed. A killed writer leaves the old
    file.
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with aside.open("w", encoding="utf-8") as writer:
            writer.write(text)
            writer.flush()
            os.fsync(writer.fileno())
        aside.replace(path)
        sync(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file, or a folder's entries, so that a rename in it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replaced_folder(out: Path, *, marker: str) -> Iterator[Path]:
    """A folder to write into that takes the place of `out` when the block ends without an error.

    Raises ConfigError where `out` holds something without the file `marker`, so is not ours.
    """
    if out.exists() and not (out / marker).is_file() and (out.is_file() or any(out.iterdir())):
        raise ConfigError(
            f"{out} is not replaced: it is not empty and holds no {marker}, so no earlier build "
            "wrote it. Choose another folder, or empty it."
        )
    aside = out.with_name(f".{out.name}.{os.getpid()}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        old = out.with_name(f".{out.name}.{os.getpid()}.old")
        if out.exists():
            out.rename(old)
        aside.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
