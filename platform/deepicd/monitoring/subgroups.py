"""Labelled answers with what clients said about their patients → quality by subgroup.

In: predictions and their subgroups. Out: one row for each attribute and group that has enough of
them. Decided here: a group with fewer than `_MIN_LABELLED` labelled answers is left out, because
its number says little and may identify people; the gap is to everybody else with that attribute. A
gap is a reason to look: labels of groups rarely come at the same rate.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from deepicd import scoring
from deepicd.records import Prediction

_MIN_LABELLED = 30
NUM_LATEST = 5000
"""Latest labelled answers of a version that are looked at."""
_NUM_BOOTSTRAP = 200


def compare_groups(
    predictions: Sequence[Prediction], subgroups: Sequence[Mapping[str, str]]
) -> list[dict[str, Any]]:
    """Rows of `attribute`, `group`, `num_labelled`, `hierarchical_f1`, `low`, `high` (bootstrap)
    and `gap`: minus that of the others, None without any.
    """
    rows = []
    for attribute in sorted({name for attributes in subgroups for name in attributes}):
        groups = {
            prediction.note_id: attributes.get(attribute)
            for prediction, attributes in zip(predictions, subgroups, strict=True)
        }
        grouped = [p for p in predictions if groups[p.note_id] is not None]
        for group in scoring.score_groups(grouped, groups, min_notes=_MIN_LABELLED):
            members = [p for p in grouped if groups[p.note_id] == group]
            others = [p for p in grouped if groups[p.note_id] != group]
            rows.append({"attribute": attribute, "group": group, **_score(members, others)})
    return rows


def _score(members: Sequence[Prediction], others: Sequence[Prediction]) -> dict[str, Any]:
    scores = scoring.score_predictions(members, num_bootstrap=_NUM_BOOTSTRAP)
    value = scores["hierarchical_f1"]
    return {
        "num_labelled": len(members),
        "hierarchical_f1": value,
        "low": scores["hierarchical_f1_low"],
        "high": scores["hierarchical_f1_high"],
        "gap": value - scoring.hierarchical_f1(others) if others else None,
    }
