"""Where a run lies: what its folder may be called, and what happens to an earlier run in it.

In: what somebody typed. Out: a folder for the run. Decided here: a name is a name, not a path, for
the registry and the cache that runs share lie beside their folders.
"""

import logging
import re
import shutil
from pathlib import Path

from deepicd.config import Experiment
from deepicd.errors import CapacityError, ConfigError
from deepicd.files import nearest_folder, require_yes
from deepicd.paths import RunPaths

_log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PREVIOUS = ".previous"
_SHOWN = 40


def folder_of(runs: Path, name: str | None, experiment: Experiment) -> Path:
    """The folder of a run that is to start.

    Args:
        runs: folder of the runs.
        name: as it was typed; None takes the experiment's.
        experiment: what is to be run.

    Raises:
        ConfigError: the name is none, or a link lies there.
    """
    name = experiment.name if name is None else name
    if not _NAME.fullmatch(name) or name.endswith(_PREVIOUS):
        shown = repr(name[:_SHOWN]) + ("…" if len(name) > _SHOWN else "")
        raise ConfigError(
            "the name of a run has 1 to 64 letters, digits, '.', '_' and '-', begins with a letter "
            f"or digit and does not end in {_PREVIOUS!r}; got {shown} ({len(name)} characters); "
            "choose another --name (--runs names the folder that it lies in)"
        )
    refuse_link(runs / name)
    return runs / name


def refuse_link(root: Path) -> None:
    """Raise ConfigError for a run's folder that is a link: the registry and the cache of a run lie
    beside its folder, and beside a link are others than beside its target.
    """
    if root.is_symlink():
        target = root.resolve()
        raise ConfigError(
            f"{root} is a link to {target}, and a run shares a registry and a cache with what lies "
            f"beside it; give --runs {target.parent}, or let the folder of all runs be the link"
        )


def check_space(root: Path, needed: int) -> None:
    """Raise CapacityError where the disk of a run that is to start has less than `needed` bytes."""
    place = nearest_folder(root)
    free = shutil.disk_usage(place).free
    if free < needed:
        raise CapacityError(
            f"the disk of {place} has {free:,} bytes free, and a run's first checkpoint needs "
            f"{needed:,} with its reserve; free some, or choose another --runs"
        )


def prepare_root(root: Path, *, may_delete: bool = False) -> Path:
    """A folder for the run; what an earlier run did there is kept beside it.

    Raises:
        ConfigError: a still earlier one is kept there, and may not be deleted.
    """
    root = root.resolve()
    if root.exists() and _holds_work(root):
        previous = root.with_name(f"{root.name}{_PREVIOUS}")
        if previous.exists():
            require_yes(
                f"{root} holds a run, and {previous} the one before, which would be deleted",
                is_given=may_delete,
                instead="choose another --name. "
                f"`deepicd resume {root.name}` goes on with a run that has not ended",
            )
            shutil.rmtree(previous)
        root.rename(previous)
        _log.info(f"started anew; the earlier run is kept in {previous}")
    root.mkdir(parents=True, exist_ok=True)
    return root


def _holds_work(root: Path) -> bool:
    """Whether a run got further than its start: one that did not must not take the place of
    `NAME.previous`.
    """
    paths = RunPaths(root)
    of_start = {paths.experiment, paths.command, paths.console, paths.token}
    return any(path not in of_start for path in root.iterdir())
