"""What lies where a build of notes is to be written: what may be deleted, and who has to allow it.

In: the folders of a build. Out: a refusal, or nothing. Decided here: an earlier build is deleted
only where somebody asked for it, and a folder that holds anything else is never deleted. A run that
builds in its own folder asks nobody: what lies there is its own (`pipeline.run`).
"""

from collections.abc import Collection
from pathlib import Path

from deepicd.errors import ConfigError, DataError
from deepicd.files import require_yes
from deepicd.notes.build_report import REPORT, read_build_report
from deepicd.notes.card import CARD
from deepicd.notes.corpus.mimic_tables import CEILING, CEILING_ANSWERS, SPLIT_OF
from deepicd.notes.late_text import JUDGE
from deepicd.paths import SPLITS
from deepicd.tokens import CACHE

_OF_BUILD = {
    *(f"{name}.parquet" for name in SPLITS),
    *(REPORT, CEILING_ANSWERS, JUDGE, f"{CARD}.md", f"{CARD}.html"),
    CACHE,  # which readers of the splits keep there
}
_OF_TABLES = {"note", "hosp", CEILING, CEILING_ANSWERS, SPLIT_OF}
_NUM_SHOWN = 3


def check_replaced(out: Path, tables: Path | None, *, may_delete: bool) -> None:
    """Refuse folders in which more lies than may be deleted; an empty one, or none, is free.

    Args:
        out: where the splits go.
        tables: where the embedded corpus goes; None where none is written.
        may_delete: whether an earlier build may be deleted.

    Raises:
        ConfigError: something lies there that no build wrote, or an earlier build, which may not
            be deleted. It names the folder, and the way out.
    """
    _check(out, "--out", _OF_BUILD, is_build=_has_report(out), may_delete=may_delete)
    if tables is not None:
        is_build = (tables / CEILING).is_file()
        _check(tables, "--tables", _OF_TABLES, is_build=is_build, may_delete=may_delete)


def _has_report(folder: Path) -> bool:
    """Whether the report of a build lies there: others write a `report.json` too."""
    if not (folder / REPORT).is_file():
        return False
    try:
        identity = read_build_report(folder)["identity"]
        return {*identity["splits"]} == {*SPLITS}
    except (DataError, KeyError, TypeError):
        return False


def _check(
    folder: Path, option: str, names: Collection[str], *, is_build: bool, may_delete: bool
) -> None:
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    others = sorted(there - {*names} if is_build else there)
    if others or (folder.exists() and not folder.is_dir()):
        shown = ", ".join(others[:_NUM_SHOWN]) + (" …" if len(others) > _NUM_SHOWN else "")
        raise ConfigError(
            f"{folder} is not replaced: no earlier build wrote {shown or 'that file'}. Choose "
            f"another folder ({option}), or move away what is yours"
        )
    at_stake = f"{folder} holds an earlier build, which would be deleted" if there else ""
    require_yes(at_stake, is_given=may_delete, instead=f"choose another folder ({option})")
