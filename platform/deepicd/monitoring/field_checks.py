"""What may be kept of a prediction: identifiers, codes, names of groups. No text of a note.

In: fields. Out: nothing, or a DataError. Decided here: every field must match a narrow pattern, so
a note cannot slip in; what was refused is not repeated, because it might be one.
"""

import re

from deepicd.errors import DataError
from deepicd.identifiers import parse_id
from deepicd.records import ServedPrediction

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
_REASON = re.compile(r"[a-z][a-z0-9_]{0,63}")
_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+/-]{0,39}")
_CODE = re.compile(r"[A-Z][0-9A-Z]{2,6}")


def check_fields(prediction: ServedPrediction) -> None:
    """Nothing but identifiers, codes and numbers may be kept."""
    _check(prediction.id, _IDENTIFIER, "prediction id")
    _check(prediction.version, _IDENTIFIER, "version")
    _check(prediction.role, _REASON, "role")
    if prediction.code is not None:
        _check(prediction.code, _CODE, "code")
    if prediction.reason is not None:
        _check(prediction.reason, _REASON, "reason")
    if prediction.admission_id is not None:
        check_admission(prediction.admission_id)
    for attribute, group in prediction.subgroups.items():
        _check(attribute, _REASON, "attribute")
        _check(group, _GROUP, "group")


def check_identifier(value: str, name: str) -> None:
    """Refuse what cannot be an id."""
    _check(value, _IDENTIFIER, name)


def check_admission(value: str) -> None:
    """Refuse what cannot be the id of an admission: labels that come by it would go to others."""
    _check(value, _IDENTIFIER, "admission id")
    try:
        parse_id(value)
    except ValueError as error:
        raise DataError(f"admission id {error}. Give it as the hospital's tables do.") from None


def _check(value: str, pattern: re.Pattern[str], name: str) -> None:
    if not pattern.fullmatch(value):
        raise DataError(  # the value itself is not shown: it might be text of a note
            f"{name} must match {pattern.pattern}; got {len(value)} characters that do not. "
            "The log keeps identifiers and codes only."
        )
