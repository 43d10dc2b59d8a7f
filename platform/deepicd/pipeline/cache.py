"""Whole stages that other runs can take over: `RUNS/cache/STAGE-IDENTITY/`.

In: a sealed stage of one run. Out: the same files and the same seal in another. Decided here: an
entry is made beside its place and renamed, so that two runs that write the same one do not meet,
and the first stays. Files are linked, not copied, where the file system can: they take no further
space, and a run stays whole when the cache is removed. What is taken over is hashed like
everything else that a run goes on with. Nothing is removed unless somebody asks for it. An entry
that goes is renamed first: whoever is taking it over either has a whole one or does the stage.
"""

import logging
import os
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from deepicd.errors import ConfigError, DataError
from deepicd.files import link_files, require_yes
from deepicd.paths import CACHE
from deepicd.pipeline.seal import Seal, is_whole, read_seal, write_seal
from deepicd.pipeline.stage import digest_of, hash_code

_log = logging.getLogger(__name__)

_SEAL = "seal.json"


def publish(cache: Path, root: Path, seal: Seal) -> None:
    """Let other runs take a stage over; does nothing where an entry is there, or the disk is full.

    A run does not fail for others' sake.
    """
    entry = _entry(cache, seal)
    if (entry / _SEAL).exists():
        return
    aside = cache / f".{entry.name}.{uuid.uuid4().hex}"
    try:
        link_files(root, aside, seal.outputs)
        write_seal(aside / _SEAL, seal)
        if not (entry / _SEAL).exists():  # somebody removed its seal, so that it is made again
            shutil.rmtree(entry, ignore_errors=True)
        # Where another run was faster the folder is not empty, and the rename fails.
        with suppress(OSError):
            aside.rename(entry)
    except OSError as error:
        _log.warning("stage %s is not kept for other runs: %s", seal.stage, error)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def take_over(cache: Path, root: Path, wanted: Seal) -> Seal | None:
    """The stage of that identity from the cache, its files now in the run; None where there is
    none. `wanted` needs no outputs.
    """
    entry = _entry(cache, wanted)
    try:
        seal = read_seal(entry / _SEAL)
        if seal is None or seal.identity != wanted.identity:
            return None
        if not is_whole(entry, seal, seal_file=entry / _SEAL):
            return None
    except (DataError, OSError) as error:  # changed, or of another user who keeps it to himself
        _log.warning("%s is not used: %s", entry, error)
        return None
    try:
        link_files(entry, root, seal.outputs)
        os.utime(entry / _SEAL)  # it was used now
    except FileNotFoundError:  # somebody has just removed it
        _log.warning("%s has gone meanwhile", entry)
        return None
    return replace(seal, taken_from=str(entry))


@dataclass(frozen=True)
class Entry:
    """A stage that runs can take over, or what a killed writer left."""

    name: str
    stage: str
    """Empty where it is not whole."""
    num_bytes: int
    """Of its files."""
    freed_bytes: int
    """Of those that no run holds: what the disk has more when it is removed."""
    used: float
    """When it was made or last taken over, in seconds since 1970."""
    is_of_this_code: bool
    """Whether a run that starts now could take it over."""


def list_entries(cache: Path) -> list[Entry]:
    """What lies in a cache, the last used first; empty where there is none."""
    folders = [path for path in cache.iterdir() if path.is_dir()] if cache.is_dir() else []
    entries = [_look(folder) for folder in folders]
    return sorted(entries, key=lambda entry: (-entry.used, entry.name))


@dataclass(frozen=True)
class Conditions:
    """What lets an entry go: all that are given have to hold."""

    older_than_s: float | None = None
    """Seconds since it was used."""
    keep: int | None = None
    """So many of each stage stay, the last used ones."""
    is_old_code: bool = False
    """It is of a code that this one takes nothing over from."""

    def choose(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those that may go, of entries of which the last used come first.

        Raises:
            ConfigError: no condition is given.
        """
        if self == Conditions():
            raise ConfigError(
                "deepicd cache prune needs to be told what may go; give --older-than DAYS, --keep "
                "NUMBER or --old-code"
            )
        seen, chosen = Counter[str](), list[Entry]()
        for entry in entries:
            seen[entry.stage] += 1
            if self._lets_go(entry, number=seen[entry.stage]):
                chosen.append(entry)
        return chosen

    def _lets_go(self, entry: Entry, *, number: int) -> bool:
        is_kept = self.keep is not None and bool(entry.stage) and number <= self.keep
        is_young = self.older_than_s is not None and time.time() - entry.used < self.older_than_s
        return not (is_kept or is_young or (self.is_old_code and entry.is_of_this_code))


def prune(
    runs: Path, conditions: Conditions, *, is_shown_only: bool = False, may_delete: bool = False
) -> list[Entry]:
    """Remove entries from the cache of a folder of runs; returns them. Runs that took them over
    stay whole: they hold the files by links, or as copies.

    Args:
        runs: folder of the runs.
        conditions: which entries.
        is_shown_only: remove nothing.
        may_delete: whether it may be done.

    Raises:
        ConfigError: no condition is given, or it may not be done.
    """
    cache = runs / CACHE
    chosen = conditions.choose(list_entries(cache))
    if is_shown_only or not chosen:
        return chosen
    freed = sum(entry.freed_bytes for entry in chosen)
    at_stake = f"{len(chosen)} entries of {cache} would be removed, which frees {freed:,} bytes"
    require_yes(at_stake, is_given=may_delete, instead="look at them with --dry-run")
    for entry in chosen:
        aside = cache / f".gone.{uuid.uuid4().hex}"
        with suppress(FileNotFoundError):  # another one removes them too
            (cache / entry.name).rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
    return chosen


def _look(folder: Path) -> Entry:
    stats = [file.stat() for file in folder.rglob("*") if file.is_file()]
    try:
        seal = read_seal(folder / _SEAL)
    except DataError:
        seal = None
    return Entry(
        name=folder.name,
        stage=seal.stage if seal and not folder.name.startswith(".") else "",
        num_bytes=sum(stat.st_size for stat in stats),
        freed_bytes=sum(stat.st_size for stat in stats if stat.st_nlink == 1),
        used=(folder / _SEAL if seal else folder).stat().st_mtime,
        is_of_this_code=seal is not None and seal.identity.get("code") == hash_code(),
    )


def _entry(cache: Path, seal: Seal) -> Path:
    return cache / f"{seal.stage}-{digest_of(seal.identity)[:16]}"
