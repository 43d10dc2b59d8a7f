"""Folders of a registry that no event names, and their end: the one place that deletes a version.

In: a registry's folder. Out: what lies in `versions/.orphans`, deleted once it is old enough.
Decided here: a registered version is never deleted; what was set aside stays for a grace of days,
because its history may only have been restored from an older copy.
"""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from deepicd.errors import ConfigError
from deepicd.files import require_yes
from deepicd.promotion.registry import Registry
from deepicd.promotion.registry_view import ORPHANS

_DAY_S = 86_400


@dataclass(frozen=True)
class Orphan:
    """A version's folder that was set aside."""

    name: str
    path: str
    days: float
    """Since it was set aside."""
    num_bytes: int


def collect_garbage(
    registry: Registry, *, grace_days: float, is_shown_only: bool, may_delete: bool
) -> list[Orphan]:
    """Delete the orphans that were set aside longer than the grace ago; returns them.

    Raises:
        MissingError: no registry is there.
        PromotionError: its event log is damaged or gone; nothing is deleted.
        ConfigError: something would go, and `--yes` was not given; or it is an object store.
    """
    registry.check_exists()
    if registry.place != str(registry.root):
        raise ConfigError(
            f"{registry.place} is an object store: its versions have no orphans to collect here; "
            "use the store's own rules for objects that no event in history/ names"
        )
    gone = [each for each in _find_orphans(registry.root) if each.days >= grace_days]
    if is_shown_only or not gone:
        return gone
    names = ", ".join(each.name for each in gone)
    at_stake = f"{names} in {registry.place} would be deleted for good"
    require_yes(at_stake, is_given=may_delete, instead="look first (--dry-run)")
    for each in gone:
        shutil.rmtree(each.path)
    return gone


def _find_orphans(root: Path) -> list[Orphan]:
    place = root / "versions" / ORPHANS
    folders = sorted(place.iterdir()) if place.is_dir() else []
    return [_describe(folder) for folder in folders if folder.is_dir()]


def _describe(folder: Path) -> Orphan:
    days = (time.time() - folder.stat().st_mtime) / _DAY_S
    sizes = (file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Orphan(folder.name, str(folder), round(days, 3), sum(sizes))
