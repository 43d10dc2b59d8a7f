"""`DataConfig` → split notes on disk, from MIMIC-IV or from the embedded corpus, by one reader.

In: settings, where the tables lie (or are to be written), where the splits go. Out:
`OUT/{train,validation,test,promotion}.parquet` and `OUT/report.json`. Decided here: the embedded
corpus is written as MIMIC-IV tables first and read back; rows of a split are shuffled by the seed,
because trainers read in order; everything is written aside and renamed last, so a build that fails
leaves the former OUT, or none.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deepicd.config import DataConfig, fingerprint
from deepicd.errors import ConfigError, DataError, MissingError
from deepicd.notes.mimic import COLUMNS, read_admissions
from deepicd.notes.profiles import load_knowledge
from deepicd.notes.report import REPORT, read_report, summarise
from deepicd.notes.splits import assign_split
from deepicd.notes.tables import CEILING, write_tables
from deepicd.paths import SPLITS
from deepicd.records import Note

ROWS_PER_GROUP = 2048
"""Rows of one Parquet row group: the unit in which trainers stream."""


def build_notes(config: DataConfig, *, tables: Path, out: Path, seed: int) -> dict[str, Any]:
    """Build the splits of one experiment and return the report.

    Args:
        config: source, size, shares.
        tables: where the embedded corpus is written; MIMIC-IV is read from `config.root` instead.
        out: folder of the splits; replaced as a whole.
        seed: decides the corpus, the splits and the order of rows.

    Raises:
        MissingError: a table is not there.
        DataError: broken or inconsistent tables, or a split without a note.
    """
    root, ceiling = tables, None
    if config.source == "mimic":
        root = config.root or tables
    else:
        ceiling = _write_embedded(config, tables, seed)
    rows = read_admissions(root)
    reasons = rows["reason"].to_pylist()
    splits = split_notes(_kept(rows), config.split_shares, seed)
    report = {
        "source": config.source,
        "seed": seed,
        "settings": fingerprint(config),
        "split_shares": list(config.split_shares),
        **summarise(splits, reasons),
        "ceiling": ceiling,
    }
    with replaced_folder(out, marker=REPORT) as folder:
        for name in SPLITS:
            write_split(splits[name], folder / f"{name}.parquet")
        (folder / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def split_notes(notes: Sequence[Note], shares: Sequence[float], seed: int) -> dict[str, list[Note]]:
    """Notes by split, each shuffled by the seed. Raises DataError when a split is empty."""
    splits: dict[str, list[Note]] = {name: [] for name in SPLITS}
    for note in sorted(notes, key=lambda note: note.note_id):
        splits[assign_split(note.patient_id, shares, seed)].append(note)
    for number, name in enumerate(SPLITS):
        if not splits[name]:
            num_patients = len({note.patient_id for note in notes})
            raise DataError(
                f"every split needs a note; {name} is empty with {num_patients} patients and a "
                f"share of {shares[number]}. Add patients, or raise data.split_shares."
            )
        order = np.random.default_rng([seed, 2, number]).permutation(len(splits[name]))
        splits[name] = [splits[name][index] for index in order]
    return splits


def write_split(notes: Sequence[Note], path: Path) -> None:
    """Write notes as Parquet, in order."""
    columns = {name: [getattr(note, name) for note in notes] for name in COLUMNS}
    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    pq.write_table(pa.table(columns, schema=schema), path, row_group_size=ROWS_PER_GROUP)


def read_split(path: Path) -> list[Note]:
    """Notes of one split, in the file's order.

    Raises MissingError when there is no such file, DataError when it is not a split of notes.
    """
    if not path.exists():
        raise MissingError(f"no split at {path}; build it first: deepicd notes build --out DIR")
    try:
        rows = pq.read_table(path, columns=list(COLUMNS)).to_pylist()
        return [Note(**row) for row in rows]
    except (pa.ArrowException, OSError, TypeError) as error:
        raise DataError(
            f"{path} is not a split of notes ({type(error).__name__}); it needs the columns "
            f"{', '.join(COLUMNS)}. Build it anew: deepicd notes build --out DIR"
        ) from None


def read_note(folder: Path, split: str, *, row: int, is_text_shown: bool) -> dict[str, Any]:
    """One note of a build as a dict.

    Raises ConfigError for an unknown split or row, and where the text of a credentialed source
    would be shown without `is_text_shown`.
    """
    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")
    source = read_report(folder)["source"]
    if source != "embedded" and not is_text_shown:
        raise ConfigError(
            f"notes of source {source!r} are credentialed and not printed; add --show-text where "
            "nobody reads over your shoulder and nothing is logged."
        )
    notes = read_split(folder / f"{split}.parquet")
    if not 0 <= row < len(notes):
        raise ConfigError(f"row must be from 0 to {len(notes) - 1} in {split}; got {row}")
    return asdict(notes[row])


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


def _write_embedded(
    config: DataConfig, tables: Path, seed: int
) -> Mapping[str, Mapping[str, float]]:
    knowledge = load_knowledge(config.num_codes)
    with replaced_folder(tables, marker=CEILING) as folder:
        return write_tables(
            knowledge, folder, num_notes=config.num_notes, shares=config.split_shares, seed=seed
        )


def _kept(rows: pa.Table) -> list[Note]:
    kept = rows.filter(pa.compute.equal(rows["reason"], "")).select(list(COLUMNS))
    return [Note(**row) for row in kept.to_pylist()]
