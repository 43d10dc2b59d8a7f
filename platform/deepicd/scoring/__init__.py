"""The one definition of every metric: accuracy, macro- and micro-F1, hierarchical precision, recall
and F1, and their intervals.

In: `records.Prediction` rows. Out: flat dicts of numbers. Formulas are in `scores.py`, intervals in
`bootstrap.py` and `replicates.py`, scores by chapter and frequency in `breakdowns.py`, by subgroup
of patients in `subgroups.py`, files in `prediction_files.py`, agreement of several answers in
`levels.py`, its calibration in `calibration.py`.
"""

from deepicd.scoring.bootstrap import (
    PairedDifference,
    compare_paired,
    has_few_patients,
    interval_of,
    mark_few,
    paired_bootstrap,
)
from deepicd.scoring.breakdowns import score_chapters, score_thirds
from deepicd.scoring.calibration import (
    calibrate,
    expected_calibration_error,
    fit_calibration,
    is_calibrated,
)
from deepicd.scoring.levels import (
    AGREEMENT_LEVELS,
    HEADLINE,
    LEVELS,
    agreement,
    count_shares,
    gold_labels,
    labels_of,
)
from deepicd.scoring.prediction_files import format_predictions, read_predictions, score_files
from deepicd.scoring.replicates import interval, replicate
from deepicd.scoring.scores import hierarchical_f1, score_predictions
from deepicd.scoring.subgroups import compare_groups

__all__ = [
    "AGREEMENT_LEVELS",
    "HEADLINE",
    "LEVELS",
    "PairedDifference",
    "agreement",
    "calibrate",
    "compare_groups",
    "compare_paired",
    "count_shares",
    "expected_calibration_error",
    "fit_calibration",
    "format_predictions",
    "gold_labels",
    "has_few_patients",
    "hierarchical_f1",
    "interval",
    "interval_of",
    "is_calibrated",
    "labels_of",
    "mark_few",
    "paired_bootstrap",
    "read_predictions",
    "replicate",
    "score_chapters",
    "score_files",
    "score_predictions",
    "score_thirds",
]
