"""Whole stages that other runs can take over: `RUNS/cache/STAGE-IDENTITY/`.

In: a sealed stage of one run. Out: the same files and the same seal in another. Decided here: an
entry is made beside its place and renamed, so that two runs that write the same one do not meet,
and the first stays. Files are linked, not copied, where the file system can: they take no further
space, and a run stays whole when the cache is removed. What is taken over is hashed like
everything else that a run goes on with.
"""

import logging
import shutil
import uuid
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from deepicd.errors import DataError
from deepicd.files import link_files
from deepicd.pipeline.seal import Seal, is_whole, read_seal, write_seal
from deepicd.pipeline.stage import digest_of

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
    link_files(entry, root, seal.outputs)
    return replace(seal, taken_from=str(entry))


def _entry(cache: Path, seal: Seal) -> Path:
    return cache / f"{seal.stage}-{digest_of(seal.identity)[:16]}"
