"""Identity of a build of notes: hashes of its splits and the code table, settings, seed.

In: the settings, the seed, the hashes of the splits. Out: a dict for `report.json`, and the check
that a resumed run makes before it goes on with notes that are there. Decided here: settings that
only a reader of the notes uses (`max_prompt_tokens`, `num_validation`) and the place of the tables
do not count; versions of packages are noted and not compared, since the content's hash says whether
they mattered.
"""

import hashlib
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads

from deepicd import codes
from deepicd.config import DataConfig, flatten
from deepicd.errors import DataError, MissingError
from deepicd.notes.build_report import read_build_report
from deepicd.notes.mimic.columns import COLUMNS
from deepicd.notes.split_writer import ROWS_PER_GROUP, hash_rows
from deepicd.paths import SPLITS

# Settings of those who read the notes; they do not change what is built.
_IGNORED = {
    *("curriculum", "max_prompt_tokens", "num_validation", "overlong"),
    *("root", "file", "splits"),
}
_OF_TABLES = {"columns", "sections"}
"""Settings that act on a table of notes or a FHIR export only."""
_SEED = "split_seed"  # stands beside the settings
_PACKAGES = ("deepicd", "numpy", "pyarrow", "ray")


def identify(config: DataConfig, *, hashes: Mapping[str, str]) -> dict[str, Any]:
    """Identity of a build whose splits have these hashes."""
    versions = {name: version(name) for name in _PACKAGES}
    ignored = _IGNORED if config.source in ("table", "fhir") else _IGNORED | _OF_TABLES
    return {
        "splits": dict(hashes),
        "codes": identify_codes(),
        "settings": config.model_dump(mode="json", exclude=ignored | {_SEED}),
        "seed": config.split_seed,
        "versions": {"python": platform.python_version(), **versions},
    }


def identify_codes() -> dict[str, str]:
    """Latest release of the code table, and the hash of all of it."""
    return {"release": f"FY{codes.RELEASES[-1]}", "sha256": _hash_code_table()}


def check_identity(folder: Path, config: DataConfig) -> dict[str, Any]:
    """The report of the build in `folder`, after its splits were found to be what it says.

    Raises:
        MissingError: the report or a split is not there.
        DataError: the build is of other settings, another seed or code table, or a split changed
            after it was written; names each difference.
    """
    return _check(folder, _compared(identify(config, hashes=_hash_splits(folder))))


def check_build(folder: Path, config: DataConfig) -> dict[str, Any]:
    """The report of the build in `folder`, which is used as it is (`data.splits`).

    Raises:
        MissingError: the report or a split is not there.
        DataError: a split changed after it was written, or the build is of another source or code
            table than the experiment's; names each difference.
    """
    wanted = _compared(identify(config, hashes=_hash_splits(folder)))
    of_build = ("splits.", "codes.", "settings.source")
    return _check(folder, {name: wanted[name] for name in wanted if name.startswith(of_build)})


def _hash_splits(folder: Path) -> dict[str, str]:
    return {name: hash_split(folder / f"{name}.parquet") for name in SPLITS}


def _check(folder: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The report of a build, after these values of its identity were compared."""
    report = read_build_report(folder)
    stored = _compared(report.get("identity", {}))
    differences = [
        f"{name} is {stored.get(name)} there and {value} here"
        for name, value in wanted.items()
        if value != stored.get(name)
    ]
    if differences:
        raise DataError(
            f"{folder} holds other notes than these settings ask for: {'; '.join(differences)}. "
            "Go on with the settings it was built with, or build anew into another folder."
        )
    return report


def hash_split(path: Path) -> str:
    """Hash of the values of a split in order, as `split_writer.write_splits` gives it."""
    if not path.exists():
        raise MissingError(f"no split at {path}; build it first: deepicd notes build --out DIR")
    hasher = hashlib.sha256()
    try:
        rows = pads.dataset(path, format="parquet")
        for batch in rows.to_batches(columns=list(COLUMNS), batch_size=ROWS_PER_GROUP):
            hash_rows(pa.Table.from_batches([batch]), hasher)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is not a split of notes ({type(error).__name__}). Build it anew: "
            "deepicd notes build --out DIR"
        ) from None
    return hasher.hexdigest()


@cache
def _hash_code_table() -> str:
    table = files("deepicd").joinpath("data/icd10cm.tsv.xz").read_bytes()
    return hashlib.sha256(table).hexdigest()[:16]


def _compared(identity: Mapping[str, Any]) -> dict[str, Any]:
    """`settings.num_notes` → 6000 and so on, without the versions."""
    flat = flatten(identity)
    return {name: value for name, value in flat.items() if not name.startswith("versions.")}
