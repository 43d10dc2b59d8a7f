"""Prediction files: JSON lines `{"patient_id", "gold", "prediction"}`, optionally `note_id`,
`reason` and `groups` (attribute of the patient → group).

`prediction` is a code, null or anything: what is not a usable code is NIL. A broken line is refused
with file, line and what was read; a gold label that is not one code is refused too, and never taken
apart into characters. Ids are text or whole numbers: a patient that is null, NaN or a fraction
would make many patients one, and a note that stands twice would count twice, so both are refused.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from deepicd import codes
from deepicd.errors import DataError, MissingError
from deepicd.files import json_text
from deepicd.identifiers import CONTROL, LOST, MAX_LENGTH, parse_id
from deepicd.records import Prediction
from deepicd.scoring.bootstrap import match_notes, paired_bootstrap
from deepicd.scoring.scores import score_predictions
from deepicd.scoring.subgroups import compare_groups
from deepicd.text_lines import read_lines, refuse_repeated_keys

_NEEDED = ("patient_id", "gold", "prediction")
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
    rows: dict[str, Prediction] = {}
    # Broken UTF-8 in one answer must not hide the other rows.
    for number, line in enumerate(read_lines(path, errors="replace"), start=1):
        if not line.strip():
            continue
        is_named, row = _parse_line(line, number, f"{path}:{number}")
        if row.note_id in rows:
            why = (
                "this note_id stood in an earlier line; a note counts once"
                if is_named
                else "this row has no note_id and takes its line number, which an earlier row has"
            )
            raise DataError(f"{path}:{number}: {why}. Give each note one line, or other ids.")
        rows[row.note_id] = row
    if not rows:
        raise DataError(f"{path} holds no predictions; expected one JSON object a line")
    return list(rows.values())


def format_predictions(predictions: Iterable[Prediction]) -> str:
    """Text of a file that `read_predictions` reads."""
    # Optional fields only where they say something, so that old files and new ones look alike.
    rows = ({k: v for k, v in asdict(row).items() if k in _ALWAYS or v} for row in predictions)
    return "".join(json_text(row, indent=None) + "\n" for row in rows)


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


def _parse_line(line: str, number: int, address: str) -> tuple[bool, Prediction]:
    """Whether a row names its note, and the row."""
    try:
        row = json.loads(line, object_pairs_hook=partial(refuse_repeated_keys, address))
    # It is a ValueError too, and must keep its own message.
    except DataError:
        raise
    except json.JSONDecodeError as error:
        raise DataError(
            f"{address}: not a JSON object: {error.msg} at character {error.colno}"
        ) from None
    except RecursionError:
        raise DataError(f"{address}: not a JSON object that can be read: nested too deep") from None
    except ValueError:  # Python reads no number of more than 4,300 digits
        raise DataError(
            f"{address}: not a JSON object that can be read: it holds a number of thousands of "
            "digits. Write it as text."
        ) from None
    missing = [name for name in _NEEDED if not isinstance(row, dict) or name not in row]
    if missing:
        raise DataError(
            f"{address}: a row is a JSON object with {', '.join(_NEEDED)}; this one lacks "
            f"{', '.join(missing)}"
        )
    gold, prediction, reason = row["gold"], row["prediction"], row.get("reason")
    # Cut, because a field may hold a megabyte.
    if not isinstance(gold, str) or not codes.is_billable(gold[:64]):
        raise DataError(
            f"{address}: gold must be one billable ICD-10-CM code as text, such as I25.10; it is "
            f"{_describe_label(gold)}"
        )
    return "note_id" in row, Prediction(
        note_id=_parse_id(row.get("note_id", number), "note_id", address),
        patient_id=_parse_id(row["patient_id"], "patient_id", address),
        gold=codes.normalise(gold),
        prediction=codes.normalise(prediction) if isinstance(prediction, str) else None,
        reason=reason if isinstance(reason, str) and not _is_half(reason) else None,
        groups=_parse_groups(row.get("groups"), address),
    )


def _describe_label(gold: Any) -> str:
    """What stands where a code should: the text where it is written like a code, else its kind,
    because it might be text of a note."""
    if not isinstance(gold, str):
        return f"of type {type(gold).__name__}"
    is_short = re.fullmatch(r"[A-Z]\d\w(\.?\w{0,4})?", gold, re.ASCII)
    return f"{gold!r}, which is none" if is_short else f"text of {len(gold)} characters"


def _parse_groups(groups: Any, address: str) -> dict[str, str]:
    what = ""
    if groups is None:
        return {}
    if not isinstance(groups, dict):
        what = f"it is of type {type(groups).__name__}"
    elif wrong := [name for name in groups.values() if not isinstance(name, str)]:
        what = f"a group is of type {type(wrong[0]).__name__}"
    elif any(LOST in text or _is_half(text) for text in chain(*groups.items())):
        what = "a text of it is broken: a letter was lost, or is half of a surrogate pair"
    elif any(len(text) > MAX_LENGTH or re.search(CONTROL, text) for text in chain(*groups.items())):
        what = f"a text of it is longer than {MAX_LENGTH} characters, of several lines or no text"
    if what:
        raise DataError(
            f"{address}: groups must map an attribute to one group as text, such as "
            f'{{"sex": "F"}}; {what}. Correct it.'
        )
    return dict(groups)


def _is_half(text: str) -> bool:
    """Whether a text holds half of a surrogate pair, which no file and no terminal takes."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def _parse_id(value: Any, name: str, address: str) -> str:
    try:
        return parse_id(value)
    except ValueError as error:
        raise DataError(f"{address}: {name} {error}. Write it as text, one id for each.") from None
