"""Files and folders that a killed writer leaves whole: atomic writes, replaced folders, locks.

Decided here: what is written stands beside its target until it is on disk, and is then renamed.
What lies where a user wants something written is replaced or deleted with `--yes` alone
(`require_yes`), whatever the command. A lock is the operating system's (`flock`, by `filelock`), so
it ends with its owner's process, whatever ends that.
"""

import fcntl
import json
import math
import os
import shutil
import socket
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from deepicd.errors import ConfigError

_LOCK_MODE = 0o600


@contextmanager
def exclusive_lock(path: Path, *, is_waited_for: bool = True) -> Iterator[None]:
    """Hold the lock of a file or folder during a block; no other descriptor holds it meanwhile.

    The lock is on what lies there, not on its name: two locks of one path exclude each other also
    within a process, and a child that inherits the descriptor would keep it.

    Args:
        path: a file, which is made where it is missing and gets the holder's process id and
            machine, or a folder that exists.
        is_waited_for: whether to wait while somebody else holds it.

    Raises:
        BlockingIOError: somebody else holds it, and is not waited for.
    """
    is_folder = path.is_dir()
    # A folder cannot be opened for writing.
    flags = os.O_RDONLY if is_folder else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags, _LOCK_MODE)
    try:
        if not filelock.lock_descriptor(descriptor, blocking=is_waited_for):
            raise BlockingIOError(f"{path} is held by another process")
        if not is_folder:
            # Only now: until it is held, the file names the holder.
            os.truncate(descriptor, 0)
            holder = {"pid": os.getpid(), "host": socket.gethostname()}
            os.write(descriptor, json.dumps(holder).encode())
        yield
    finally:
        os.close(descriptor)  # and the lock goes with it


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock of a file or folder, which must exist."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # filelock knows exclusive locks only. A look takes a shared one: two that look at the same
        # time must not take each other for the holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def lock_holder(path: Path) -> int | None:
    """Process that holds a lock file; None when nobody does, 0 when it has not said so yet."""
    if not path.is_file() or not is_held(path):
        return None
    return int(json.loads(path.read_text(encoding="utf-8") or '{"pid": 0}')["pid"])


def lock_host(path: Path) -> str:
    """Machine of the last process that held a lock file: folders may be shared between machines.
    This one's name where the file has none.
    """
    holder = json.loads(path.read_text(encoding="utf-8") or "{}")
    return str(holder.get("host", socket.gethostname()))


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` by `text`: written aside, flushed, renamed. A killed writer leaves the old
    file.
    """
    with replaced_file(path) as aside:
        aside.write_text(text, encoding="utf-8")


def require_yes(at_stake: str, *, is_given: bool, instead: str) -> None:
    """Refuse to replace or delete what lies at a place that a user named, unless `--yes` was given.

    Args:
        at_stake: what lies there and would go, as the beginning of a sentence; empty for nothing.
        is_given: whether `--yes` was.
        instead: what else the user can do.

    Raises:
        ConfigError: names what is at stake, and both ways out.
    """
    if at_stake and not is_given:
        raise ConfigError(f"{at_stake}; give --yes, or {instead}")


def refuse_existing(files: Iterable[Path], *, may_replace: bool, option: str) -> None:
    """Refuse to replace files, unless `--yes` was given.

    Args:
        files: what is to be written.
        may_replace: whether `--yes` was given.
        option: where the user named the place.

    Raises:
        ConfigError: one of them is there, or a folder is in its place.
    """
    for file in files:
        if file.is_dir():
            raise ConfigError(f"{file} is a folder, and a file is to be written there; name one")
        at_stake = f"{file} exists, and would be replaced" if file.exists() else ""
        require_yes(at_stake, is_given=may_replace, instead=f"choose another place ({option})")


def nearest_folder(path: Path) -> Path:
    """A folder, or the nearest above it that is there already."""
    path = path.absolute()
    return next(each for each in (path, *path.parents) if each.is_dir())


def json_text(value: Any, *, indent: int | None = 2, sort_keys: bool = True) -> str:
    """Plain values as JSON. A number that is none (not finite) is null: JSON has no word for it,
    and what Python writes instead no other reader takes.
    """
    return json.dumps(_finite(value), indent=indent, sort_keys=sort_keys, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def write_json(path: Path, value: Any, *, sort_keys: bool = True) -> None:
    """Replace `path` by plain values as JSON (`json_text`), atomically."""
    write_atomically(path, json_text(value, sort_keys=sort_keys) + "\n")


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """A file to write beside `path`, flushed and renamed to it when the block ends without error.

    Where the block fails, or writes no file, `path` stays what it was and nothing is left beside.
    """
    # A name of its own: two may write the same file at a time, and the last one stays.
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield aside
        if aside.exists():
            sync(aside)
            aside.replace(path)
            sync(path.parent)
    finally:
        # Asked first: `missing_ok` does not cover a parent that is a file.
        if aside.exists():
            aside.unlink()


def link_files(source: Path, target: Path, names: Iterable[str]) -> None:
    """Let files below `source` stand below `target` too, by hard link where the file system can,
    else as a copy. Both are to be replaced when they change, never written into.
    """
    for name in names:
        file = target / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        try:
            os.link(source / name, file)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source / name, file)


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
        put_in_place(aside, out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def put_in_place(folder: Path, target: Path) -> None:
    """Rename `folder` to `target` on the same file system; what was there goes once it is done.

    Raises:
        OSError: it cannot be renamed; `target` is what it was.
    """
    # A folder cannot be renamed over one that holds something, so the old one steps aside.
    old = target.with_name(f".{target.name}.{uuid.uuid4().hex}.old")
    was_there = target.exists()
    if was_there:
        target.rename(old)
    try:
        folder.rename(target)
    except OSError:
        if was_there:
            old.rename(target)
        raise
    sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)
