"""Whole copies of Ray Tune's snapshots, from which an interrupted sweep resumes.

Tune writes what it resumes from (its trials, the searcher, how many were proposed, callbacks) as
several files, and copies them into the sweep's folder one by one in the background. A driver that
is killed then leaves a mixture, or half a file. If the count of proposals is newer than the list of
trials, trials are lost. Here each snapshot is also copied as a folder of its own, which gets its
name when it is whole; `resume` starts from the newest one.
"""

import logging
import shutil
from pathlib import Path

from ray.tune.search import ConcurrencyLimiter, SearchGenerator
from ray.tune.search import Searcher as TuneSearcher

from deepicd.upstream import require_version

_log = logging.getLogger(__name__)

_STATES = (
    "experiment_state-*.json",
    "search_gen_state-*.json",
    "searcher-state-*.pkl",
    "callback-states-*.pkl",
)
"""Tune's own names, each with the session that wrote it."""


class SnapshotSearchGenerator(SearchGenerator):
    """Asks a searcher for trials, some at once, and copies each snapshot that Ray Tune has written.

    Tune's controller writes its trials, calls `save_to_dir`, and writes its callbacks. Trials and
    proposals of a copy made there belong together, which is what no trial may be lost by. Its
    callbacks are those of the snapshot before: they then miss the reports in between, which only
    compare or display. That order, and the names of the files, are private to Ray.
    """

    def __init__(self, searcher: TuneSearcher, *, max_concurrent: int, snapshots: Path) -> None:
        require_version("ray", "2.60.0", "the copy of Ray Tune's snapshots")
        super().__init__(ConcurrencyLimiter(searcher, max_concurrent=max_concurrent))
        self._snapshots = snapshots

    def save_to_dir(self, dirpath: str, session_str: str) -> None:
        """Write the searcher beside the trials that Tune has written just before. Where the disk of
        the sweep is full, the snapshot before stays and the sweep goes on, as with Tune's own copy.
        """
        super().save_to_dir(dirpath, session_str)
        try:
            copy_snapshot(Path(dirpath), self._snapshots, session=session_str)
        except OSError as error:
            _log.warning("no snapshot of the sweep was kept: %s", error)


def copy_snapshot(written: Path, snapshots: Path, *, session: str) -> None:
    """Copy a session's files, then remove the snapshots before.

    Args:
        written: the folder into which Tune writes.
        snapshots: folder of the copies.
        session: part of the names of this session's files.
    """
    before = _whole_snapshots(snapshots)
    number = int(before[-1].name) + 1 if before else 0
    # Zeros in front, so that names sort as numbers.
    partial = snapshots / f"{number:06}.part"
    # A driver that was killed while it copied has left one.
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for file in state_files(written):
        if session in file.name:
            shutil.copyfile(file, partial / file.name)
    # Renamed last: a folder whose name is a number is whole.
    partial.rename(partial.with_suffix(""))
    for folder in before:
        shutil.rmtree(folder, ignore_errors=True)


def restore_snapshot(snapshots: Path, tune: Path) -> None:
    """Replace the states in Tune's folder by the newest whole snapshot, where there is one."""
    if not (whole := _whole_snapshots(snapshots)):
        return
    # All of them: Tune takes the newest of each kind, whichever session wrote it.
    for file in state_files(tune):
        file.unlink()
    for file in state_files(whole[-1]):
        shutil.copyfile(file, tune / file.name)


def _whole_snapshots(snapshots: Path) -> list[Path]:
    """Folders of whole snapshots, the oldest first."""
    return sorted(folder for folder in snapshots.glob("*") if folder.name.isdigit())


def state_files(folder: Path) -> list[Path]:
    """Files of Tune's states in a folder."""
    return [file for pattern in _STATES for file in folder.glob(pattern)]
