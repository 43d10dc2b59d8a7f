"""`DataConfig` → split notes on disk, from the embedded corpus, MIMIC-IV, a table or FHIR.

In: settings, where the tables lie (or are to be written), where the splits go. Out:
`OUT/{train,validation,test,promotion}.parquet`, `OUT/report.json` and, if wanted, a card. Decided
here: the embedded corpus is written as MIMIC-IV tables first and read back; rows of a split are
shuffled by the seed, because trainers read in order; everything is written aside and renamed last,
so a build that fails leaves the former OUT, or none.
"""

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from deepicd.config import DataConfig, fingerprint
from deepicd.errors import DataError
from deepicd.files import replaced_folder, write_json
from deepicd.notes.baselines import score_baselines
from deepicd.notes.build_report import REPORT, summarise_build, summarise_reading
from deepicd.notes.card import write_card
from deepicd.notes.corpus.mimic_tables import CEILING, CEILING_ANSWERS, SPLIT_OF, write_tables
from deepicd.notes.corpus.profiles import load_knowledge
from deepicd.notes.identity import identify
from deepicd.notes.late_text import JUDGE, fit_judge
from deepicd.notes.mimic.late_passages import PASSAGES
from deepicd.notes.mimic.reader import cut_notes, looked_at
from deepicd.notes.split_writer import bucket_rows, write_splits
from deepicd.notes.splits import assign_split, fill_splits, repair_splits
from deepicd.notes.table.reader import cut_table
from deepicd.paths import SPLITS

_PARTS = ".parts"
"""Cut notes, before they are in splits; gone when a build is done."""


def build_notes(
    config: DataConfig,
    *,
    tables: Path,
    out: Path,
    is_card_written: bool = False,
    has_baselines: bool = False,
) -> dict[str, Any]:
    """Build the splits of one experiment; returns the build report.

    Args:
        config: source, size, shares, and the seed of corpus, splits and order of rows.
        tables: where the embedded corpus is written; others are read from `config.place` instead.
        out: folder of the splits; replaced as a whole. Ray's workers must be able to write beside
            it: on several nodes it lies on shared storage.
        is_card_written: also write `card.md` and `card.html` (about a second).
        has_baselines: also score the majority code and a linear model (some seconds).

    Raises:
        MissingError: a table is not there.
        DataError: broken or inconsistent tables, or a split without a note.
    """
    ceiling, seed = None, config.split_seed
    if config.source == "embedded":
        ceiling = _write_embedded(config, tables, seed)
    with replaced_folder(out, marker=REPORT) as folder:
        rows = _cut(config, tables, folder / _PARTS)
        kept = split_rows(rows, config, seed, split_of=_read_split_of(config, tables))
        hashes = _write_rows(kept, folder, seed)
        judge = fit_judge(folder / _PARTS / PASSAGES)
        if judge:
            judge.save(folder / JUDGE)
        shutil.rmtree(folder / _PARTS)
        if ceiling is not None:
            # Beside the splits: a run that uses this build has these, and not the tables.
            shutil.copy(tables / CEILING_ANSWERS, folder)
        report = {
            "source": config.source,
            "seed": seed,
            "settings": fingerprint(config),
            "split_shares": list(config.split_shares),
            **summarise_build(kept, rows["reason"].to_pylist()),
            **summarise_reading(rows, looked_at(rows)),
            "late_text_judge": judge and judge.summary(),
            "ceiling": ceiling,
            "baselines": score_baselines(folder) if has_baselines else None,
            "identity": identify(config, hashes=hashes),
        }
        if is_card_written:
            write_card(report, folder)
        write_json(folder / REPORT, report, sort_keys=False)
    return report


def split_rows(
    rows: pa.Table, config: DataConfig, seed: int, *, split_of: Mapping[str, str] | None = None
) -> pa.Table:
    """The kept ones of `rows` (`mimic.CUT_COLUMNS`) with their `split`.

    `split_of` (patient → split) is given by the embedded corpus, whose phrases depend on the split.

    Raises DataError when no note or no note of a split is left.
    """
    kept = rows.filter(pc.equal(rows["reason"], ""))
    if not kept.num_rows:
        counts = Counter(rows["reason"].to_pylist())
        why = ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))
        raise DataError(
            f"a build needs notes; of {rows.num_rows} rows none is left ({why or 'empty table'}). "
            "Look the reasons up in docs/notes.md, and correct the source of the notes."
        )
    patients, labels = kept["patient_id"].to_pylist(), kept["code"].to_pylist()
    if split_of is None:
        by_hash = {
            patient: assign_split(patient, config.split_shares, seed)
            for patient in dict.fromkeys(patients)
        }
        pairs = list(zip(patients, labels, strict=True))
        split_of = repair_splits(by_hash, pairs, seed=seed)
        split_of = fill_splits(split_of, pairs, shares=config.split_shares, seed=seed)
    splits = {patient: split_of[patient] for patient in patients}
    counts = Counter(splits.values())
    for name, share in zip(SPLITS, config.split_shares, strict=True):
        if not counts[name]:
            raise DataError(
                f"every split needs a note; {name} is empty with {len(splits)} patients and a "
                f"share of {share}. Add patients, or raise data.split_shares."
                f"{' Look whether the column of patients is right.' * (len(splits) == 1)}"
            )
    return kept.append_column(
        "split", pa.array([splits[patient] for patient in patients], pa.string())
    )


def _cut(config: DataConfig, tables: Path, folder: Path) -> pa.Table:
    """Cut notes of any source, in `folder`."""
    if config.source in ("table", "fhir"):
        return cut_table(config, folder)
    root = tables if config.source == "embedded" else config.root
    assert root is not None, "a source without a place is refused when it is read"
    return cut_notes(root, folder)


def _read_split_of(config: DataConfig, tables: Path) -> dict[str, str] | None:
    if config.source != "embedded":
        return None
    split_of: dict[str, str] = json.loads((tables / SPLIT_OF).read_text(encoding="utf-8"))
    return split_of


def order_rows(splits: Sequence[str], seed: int) -> NDArray[np.int64]:
    """Position of each row over all splits one after the other; each split shuffled by the seed."""
    names = np.array(splits)
    positions = np.empty(len(names), np.int64)
    start = 0
    for number, name in enumerate(SPLITS):
        rows = np.flatnonzero(names == name)
        # A stream of its own for each split: another size of one leaves the order of the others.
        # 2, because 1 is the stream that the corpus is sampled from (`corpus.sampling`).
        order = np.random.default_rng([seed, 2, number]).permutation(len(rows))
        positions[rows[order]] = start + np.arange(len(rows))
        start += len(rows)
    return positions


def _write_embedded(
    config: DataConfig, tables: Path, seed: int
) -> Mapping[str, Mapping[str, float]]:
    knowledge = load_knowledge(config.num_codes, difficulty=config.difficulty)
    with replaced_folder(tables, marker=CEILING) as folder:
        return write_tables(
            knowledge, folder, num_notes=config.num_notes, shares=config.split_shares, seed=seed
        )


def _write_rows(kept: pa.Table, folder: Path, seed: int) -> dict[str, str]:
    """Write the splits from the parts in `folder`; returns their hashes."""
    splits = kept["split"].to_pylist()
    counts = Counter(splits)
    order = order_rows(splits, seed)
    file, row = np.array(kept["part"].to_pylist()), kept["row"].to_numpy()
    positions = {}
    for name in np.unique(file).tolist():
        here = file == name
        positions[name] = np.full(int(row[here].max()) + 1, -1, np.int64)
        positions[name][row[here]] = order[here]
    num_characters = pc.sum(kept["num_characters"]).as_py()
    return write_splits(
        folder / _PARTS,
        positions,
        sizes={name: counts[name] for name in SPLITS},
        rows_per_bucket=bucket_rows(num_characters, kept.num_rows),
        out=folder,
    )
