"""Prediction files: JSON lines `{"patient_id", "gold", "prediction"}`, optionally `note_id`,
`reason` and `groups` (attribute of the patient → group).

`prediction` is a code, null or anything: what is not a usable code is NIL. A broken line is refused
with file, line and what was read; a gold label that is not one code is refused too, and never taken
apart into characters.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepicd import codes
from deepicd.errors import DataError, MissingError
from deepicd.records import Prediction
from deepicd.scoring.bootstrap import match_notes, paired_bootstrap
from deepicd.scoring.scores import score_predictions
from deepicd.scoring.subgroups import compare_groups

_ALWAYS = ("note_id", "patient_id", "gold", "prediction", "reason")
"""Fields of a row that are written whatever they hold."""


def read_predictions(path: Path) -> list[Prediction]:
    """Read one file; blank lines are skipped, a row without `note_id` takes its line number.

    Raises:
        MissingError: no such file.
        DataError: a line that is not such a row, or a file without rows.
    """
    if not path.is_file():
        raise MissingError(f"no predictions file at {path}")
    rows = []
    # Broken UTF-8 in one answer must not hide the other rows.
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                rows.append(_parse_line(line, number, f"{path}:{number}"))
    if not rows:
        raise DataError(f"{path} holds no predictions; expected one JSON object a line")
    return rows


def format_predictions(predictions: Iterable[Prediction]) -> str:
    """Text of a file that `read_predictions` reads."""
    # Optional fields only where they say something, so that old files and new ones look alike.
    rows = ({k: v for k, v in asdict(row).items() if k in _ALWAYS or v} for row in predictions)
    return "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)


def score_files(
    file: Path, against: Path | None = None, *, num_bootstrap: int, seed: int, confidence: float
) -> dict[str, Any]:
    """Scores of one file, and of its `subgroups` as far as rows have `groups`; with another model's
    file also `against` (its scores) and `paired`.

    Rows of the two files are matched by `note_id`, or by line where there is none.

    Raises:
        MissingError: a file does not exist.
        DataError: a broken file, or files that do not hold the same notes.
        ConfigError: `num_bootstrap` or `confidence` out of range.
    """
    options: dict[str, Any] = {"seed": seed, "confidence": confidence}
    rows = read_predictions(file)
    others = read_predictions(against) if against else []
    result: dict[str, Any] = {}
    if others:
        match_notes(rows, others)
        result["against"] = score_predictions(others, num_bootstrap=num_bootstrap, **options)
        if num_bootstrap:
            paired = paired_bootstrap(rows, others, num_bootstrap=num_bootstrap, **options)
            result["paired"] = paired
    result["subgroups"] = compare_groups(rows, num_bootstrap=num_bootstrap, **options)
    return score_predictions(rows, num_bootstrap=num_bootstrap, **options) | result


def _parse_line(line: str, number: int, address: str) -> Prediction:
    try:
        row = json.loads(line)
    except ValueError:
        raise DataError(f"{address}: not a JSON object: {line.strip()[:60]!r}") from None
    if (
        not isinstance(row, dict)
        or "gold" not in row
        or "patient_id" not in row
        or "prediction" not in row
    ):
        raise DataError(
            f"{address}: a row needs patient_id, gold and prediction; got {line.strip()[:60]!r}"
        )
    gold, prediction, reason = row["gold"], row["prediction"], row.get("reason")
    # Cut, because a field may hold a megabyte.
    if not isinstance(gold, str) or not codes.is_billable(gold[:64]):
        raise DataError(
            f"{address}: gold must be one billable ICD-10-CM code as text; got {gold!r:.60}"
        )
    return Prediction(
        note_id=_text(row.get("note_id", number)),
        patient_id=_text(row["patient_id"]),
        gold=codes.normalise(gold),
        prediction=codes.normalise(prediction) if isinstance(prediction, str) else None,
        reason=reason if isinstance(reason, str) else None,
        groups=_parse_groups(row.get("groups") or {}, address),
    )


def _parse_groups(groups: Any, address: str) -> dict[str, str]:
    if not isinstance(groups, dict) or not all(isinstance(name, str) for name in groups.values()):
        raise DataError(
            f"{address}: groups must map an attribute to one group as text, such as "
            f'{{"sex": "F"}}; got {groups!r:.60}'
        )
    return groups


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
