"""Labelled answers with what clients said about their patients → quality by subgroup.

In: predictions and their subgroups. Out: one row for each attribute and group that has enough of
them. How a group is compared with the others is `scoring.compare_groups`'s; decided here is how
many answers are looked at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from deepicd import scoring
from deepicd.records import Prediction

NUM_LATEST = 5000
"""Latest labelled answers of a version that are looked at."""
_NUM_BOOTSTRAP = 200


def compare_groups(
    predictions: Sequence[Prediction], subgroups: Sequence[Mapping[str, str]]
) -> list[dict[str, Any]]:
    """Rows of `attribute`, `group`, `num_labelled`, `hierarchical_f1`, `low`, `high`, `gap` (minus
    that of the others, None without any), `gap_low` and `gap_high`.
    """
    grouped = [
        replace(prediction, groups=groups)
        for prediction, groups in zip(predictions, subgroups, strict=True)
    ]
    rows = scoring.compare_groups(grouped, num_bootstrap=_NUM_BOOTSTRAP)
    for row in rows:
        row["num_labelled"] = row.pop("num_notes")
        del row["num_patients"]  # the log knows no patients: each answer counts as one
    return rows
