"""What a build of notes did, as a dict that is written to `report.json`.

In: rows with their reason and split. Out: counts by split, by reason, by label; the ceiling of the
embedded corpus. It holds counts only, never text and never an identifier.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepicd import codes
from deepicd.errors import DataError, MissingError
from deepicd.paths import SPLITS
from deepicd.records import Note

REPORT = "report.json"
"""File name beside the splits."""


def summarise(splits: Mapping[str, Sequence[Note]], reasons: Sequence[str]) -> dict[str, Any]:
    """Counts of kept notes by split and label, and of dropped ones by reason."""
    dropped = Counter(reason for reason in reasons if reason)
    return {
        "num_notes": sum(len(notes) for notes in splits.values()),
        "num_dropped": dropped.total(),
        "dropped": dict(sorted(dropped.items())),
        "splits": {name: _summarise_split(splits[name]) for name in SPLITS},
        "labels": _count_labels(splits),
        "num_labels": len({note.code for notes in splits.values() for note in notes}),
        "labels_unseen_in_train": _unseen(splits),
    }


def read_report(folder: Path) -> dict[str, Any]:
    """The report of a build. Raises MissingError without one, DataError when it is broken."""
    path = folder / REPORT
    if not path.is_file():
        raise MissingError(f"no report at {path}; build first: deepicd notes build --out {folder}")
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({type(error).__name__}); build anew.") from None
    return report


def _summarise_split(notes: Sequence[Note]) -> dict[str, Any]:
    lengths = sorted(len(note.text) for note in notes)
    return {
        "num_notes": len(notes),
        "num_patients": len({note.patient_id for note in notes}),
        "num_labels": len({note.code for note in notes}),
        "num_chapters": len({codes.chapter(note.code) for note in notes}),
        "characters_median": lengths[len(lengths) // 2],
        "characters_max": lengths[-1],
    }


def _count_labels(splits: Mapping[str, Sequence[Note]]) -> dict[str, dict[str, int]]:
    """Code → notes by split, most frequent in training first."""
    counts = {name: Counter(note.code for note in splits[name]) for name in SPLITS}
    everything = sorted({code for by_code in counts.values() for code in by_code})
    everything.sort(key=lambda code: -counts["train"][code])
    return {code: {name: counts[name][code] for name in SPLITS} for code in everything}


def _unseen(splits: Mapping[str, Sequence[Note]]) -> dict[str, int]:
    """Labels of each other split that training never shows."""
    seen = {note.code for note in splits["train"]}
    return {name: len({note.code for note in splits[name]} - seen) for name in SPLITS[1:]}
