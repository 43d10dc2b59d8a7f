"""Accuracy without labels: what the calibrated confidences of a window promise, with an error band.

In: chapter-level confidences of the answers of one window, as sums, and its labelled answers. Out:
`Estimate`, and the fields of `records.Window` that speak of confidence. Decided here:
confidence-based performance estimation (Garg et al. 2022 call it average confidence): the expected
share of right chapters is the mean confidence. The band is where 95% of the true shares fall while
the calibration still holds: the answers' own chance, and the chance of the notes that the
calibration was fitted on. It cannot see a calibration that has gone wrong with the notes; therefore
it is compared with the labels as they come (`agrees`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from deepicd import codes, scoring

Z = 1.96
"""Of a 95% band."""


@dataclass(frozen=True)
class Estimate:
    """Expected share of answers whose chapter is right."""

    value: float
    low: float
    high: float

    def agrees(self, share: float) -> bool:
        """Whether a share that turned out lies in the band."""
        return self.low <= share <= self.high


def estimate(total: float, squares: float, *, num: int, num_calibration: int) -> Estimate | None:
    """From the sum and the sum of squares of `num` confidences; None without any.

    `num_calibration` is the number of answers that the calibration was fitted on.
    """
    if not num:
        return None
    mean = total / num
    own = (total - squares) / num**2  # variance of a mean of so many independent coins
    of_fit = mean * (1 - mean) / max(1, num_calibration)
    half = Z * sqrt(own + of_fit)
    return Estimate(mean, max(0.0, mean - half), min(1.0, mean + half))


def judge_confidences(
    sums: Mapping[str, Any], labelled: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Calibration error of a window, its estimate, and whether the labels bear that out.

    Args:
        sums: over all its answers: `promised`, `promised_squares`, `num_promised` and
            `num_calibration`.
        labelled: its labelled answers: `prediction`, `gold`, `confidence`, `chapter_confidence`.
    """
    judgement: dict[str, Any] = {"calibration_error": _calibration_error(labelled)}
    fitted_on = int(sums["num_calibration"])
    promised = estimate(
        sums["promised"],
        sums["promised_squares"],
        num=sums["num_promised"],
        num_calibration=fitted_on,
    )
    if promised is None:
        return judgement
    judgement["estimated_accuracy"] = promised.value
    judgement["estimated_low"], judgement["estimated_high"] = promised.low, promised.high
    rows = [row for row in labelled if row["chapter_confidence"] is not None]
    confidences = [row["chapter_confidence"] for row in rows]
    squares = sum(confidence * confidence for confidence in confidences)
    checked = estimate(sum(confidences), squares, num=len(confidences), num_calibration=fitted_on)
    if checked is not None:
        accuracy = sum(map(_is_right_chapter, rows)) / len(rows)
        judgement["labelled_accuracy"] = accuracy
        judgement["is_estimate_sound"] = checked.agrees(accuracy)
    return judgement


def _calibration_error(labelled: Sequence[Mapping[str, Any]]) -> float | None:
    """Of the confidences in exact codes; None without any."""
    rows = [row for row in labelled if row["confidence"] is not None]
    if not rows:
        return None
    confidences = [row["confidence"] for row in rows]
    is_right = [row["prediction"] == row["gold"] for row in rows]
    return scoring.expected_calibration_error(confidences, is_right)


def _is_right_chapter(row: Mapping[str, Any]) -> bool:
    code = row["prediction"]
    return code is not None and codes.chapter(code) == codes.chapter(row["gold"])
