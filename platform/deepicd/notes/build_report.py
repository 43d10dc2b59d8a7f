"""The report of a build of notes: a dict of counts that is written to `report.json`.

In: rows with their split, and the reason of every dropped one. Out: counts by split, by reason, by
label, by chapter, by length. It holds counts only, never text and never an identifier.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from deepicd import codes
from deepicd.errors import DataError, MissingError
from deepicd.notes.mimic.kinds import KINDS, count_kinds
from deepicd.paths import SPLITS

REPORT = "report.json"
"""File name beside the splits."""

_NUM_BINS = 30
"""Bins of the length histogram."""


def summarise_build(kept: pa.Table, reasons: Sequence[str]) -> dict[str, Any]:
    """Counts of kept notes by split and label, and of dropped ones by reason.

    Args:
        kept: a row a note with `split`, `patient_id`, `code` and `num_characters`.
        reasons: of all notes, empty where a note is kept.
    """
    dropped = Counter(reason for reason in reasons if reason)
    splits = {name: kept.filter(pc.equal(kept["split"], name)) for name in SPLITS}
    labels = _count_labels(splits)
    return {
        "num_notes": kept.num_rows,
        "num_dropped": dropped.total(),
        "dropped": dict(sorted(dropped.items())),
        "splits": {name: _summarise_split(rows) for name, rows in splits.items()},
        "labels": labels,
        "num_labels": len(labels),
        "labels_unseen_in_train": _unseen(labels),
        "chapters": _count_chapters(labels),
        "lengths": _count_lengths(kept["num_characters"].to_numpy()),
    }


def summarise_reading(rows: pa.Table, kinds: Sequence[str]) -> dict[str, Any]:
    """What the section reader met: lines with an unknown header, and texts that are no summaries.

    Args:
        rows: a row a note with `num_unknown`.
        kinds: of the notes whose text was read.
    """
    unknown = rows["num_unknown"].to_numpy()
    num_notes = int((unknown > 0).sum())
    return {
        "unknown_headers": {
            "num_lines": int(unknown.sum()),
            "num_notes": num_notes,
            "share": num_notes / max(1, len(kinds)),
        },
        "kinds": {kind: {**seen, "what": KINDS[kind]} for kind, seen in count_kinds(kinds).items()},
    }


def read_build_report(folder: Path) -> dict[str, Any]:
    """The report of a build. Raises MissingError without one, DataError when it is broken."""
    path = folder / REPORT
    if not path.is_file():
        raise MissingError(f"no report at {path}; build first: deepicd notes build --out {folder}")
    try:
        report: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({type(error).__name__}); build anew.") from None
    if not isinstance(report, dict):
        raise DataError(f"{path} holds no JSON object, so it is no report of a build; build anew.")
    return report


def _summarise_split(rows: pa.Table) -> dict[str, Any]:
    lengths = np.sort(rows["num_characters"].to_numpy())
    labels = pc.unique(rows["code"]).to_pylist()
    return {
        "num_notes": rows.num_rows,
        "num_patients": pc.count_distinct(rows["patient_id"]).as_py(),
        "num_labels": len(labels),
        "num_chapters": len({codes.chapter(code) for code in labels}),
        "characters_median": int(lengths[len(lengths) // 2]),
        "characters_max": int(lengths[-1]),
    }


def _count_labels(splits: Mapping[str, pa.Table]) -> dict[str, dict[str, int]]:
    """Code → notes by split, most frequent in training first."""
    counts = {name: Counter(rows["code"].to_pylist()) for name, rows in splits.items()}
    everything = sorted({code for by_code in counts.values() for code in by_code})
    # The second sort is stable: codes that are equally frequent stay in their order.
    everything.sort(key=lambda code: -counts["train"][code])
    return {code: {name: counts[name][code] for name in SPLITS} for code in everything}


def _unseen(labels: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Labels of each other split that training never shows."""
    new = [counts for counts in labels.values() if not counts["train"]]
    return {name: sum(bool(counts[name]) for counts in new) for name in SPLITS[1:]}


def _count_chapters(labels: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Chapter → notes by split, in the order of the classification."""
    by_chapter: dict[str, dict[str, int]] = {}
    for code in sorted(labels):
        counts = by_chapter.setdefault(codes.chapter(code), dict.fromkeys(SPLITS, 0))
        for name in SPLITS:
            counts[name] += labels[code][name]
    return by_chapter


def _count_lengths(lengths: NDArray[np.int64]) -> dict[str, list[int]]:
    """Histogram of a note's characters: `counts[i]` from `edges[i]` to below `edges[i + 1]`."""
    # Rounded up, so that the longest note falls into the last bin.
    width = max(1, -(-int(lengths.max() + 1) // _NUM_BINS))
    edges = np.arange(_NUM_BINS + 1) * width
    return {"edges": edges.tolist(), "counts": np.histogram(lengths, edges)[0].tolist()}
