"""Snapshots of a sweep whose files belong together.

Tune writes what it goes on from (its trials, the searcher, how many were proposed, callbacks) as
several files, and copies them into the sweep's folder one by one in the background. A driver that
is killed then leaves a mixture, or half a file: proposals counted that no trial stands for are lost
trials. Here each snapshot is also copied as a folder of its own, which gets its name when it is
whole; `resume` begins with the newest one.
"""

import logging
import shutil
from pathlib import Path

from ray.tune.search import ConcurrencyLimiter, SearchGenerator
from ray.tune.search import Searcher as TuneSearcher

STATES = (
    "experiment_state-*.json",
    "search_gen_state-*.json",
    "searcher-state-*.pkl",
    "callback-states-*.pkl",
)
"""Tune's own names, each with the session that wrote it."""


class Proposals(SearchGenerator):
    """What Tune asks for trials; it keeps a snapshot each time that Tune has written one."""

    def __init__(self, searcher: TuneSearcher, *, max_concurrent: int, keep: Path) -> None:
        super().__init__(ConcurrencyLimiter(searcher, max_concurrent=max_concurrent))
        self._keep = keep

    def save_to_dir(self, dirpath: str, session_str: str) -> None:
        """Write the searcher beside the trials that Tune has written just before. Where the disk of
        the sweep is full, the snapshot before stays and the sweep goes on, as with Tune's own copy.
        """
        super().save_to_dir(dirpath, session_str)
        try:
            keep_snapshot(Path(dirpath), self._keep, session=session_str)
        except OSError as error:
            logging.getLogger(__name__).warning("no snapshot of the sweep was kept: %s", error)


def keep_snapshot(written: Path, keep: Path, *, session: str) -> None:
    """Copy a session's files, then forget the snapshots before."""
    before = kept(keep)
    number = int(before[-1].name) + 1 if before else 0
    part = keep / f"{number:06}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for file in files_of(written):
        if session in file.name:
            shutil.copyfile(file, part / file.name)
    part.rename(part.with_suffix(""))
    for folder in before:
        shutil.rmtree(folder, ignore_errors=True)


def bring_back_snapshot(keep: Path, tune: Path) -> None:
    """Put the newest whole snapshot in the place of what lies in Tune's folder."""
    if not (whole := kept(keep)):
        return
    for file in files_of(tune):
        file.unlink()
    for file in files_of(whole[-1]):
        shutil.copyfile(file, tune / file.name)


def kept(keep: Path) -> list[Path]:
    """Whole snapshots, the oldest first."""
    return sorted(folder for folder in keep.glob("*") if folder.name.isdigit())


def files_of(folder: Path) -> list[Path]:
    """Files of Tune's states in a folder."""
    return [file for pattern in STATES for file in folder.glob(pattern)]
