"""A version's calibration as a file of its folder, hashed with the weights.

In and out: `records.Calibration` ⇄ `calibration.json`. A version without the file has no calibrated
confidence, and the endpoint says so.
"""

import json
from dataclasses import asdict
from pathlib import Path

from deepicd.errors import CheckpointError
from deepicd.files import json_text, write_atomically
from deepicd.records import Calibration, Curve

CALIBRATION = "calibration.json"


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Write the file."""
    text = json_text(asdict(calibration))
    write_atomically(folder / CALIBRATION, text + "\n")


def read_calibration(folder: Path) -> Calibration | None:
    """The calibration of the version in that folder; None for one without.

    Raises:
        CheckpointError: the file is broken.
    """
    file = folder / CALIBRATION
    if not file.is_file():
        return None
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        curves = {
            level: Curve(tuple(points["shares"]), tuple(points["accuracies"]))
            for level, points in values.pop("curves").items()
        }
        return Calibration(curves=curves, **values)
    # JSON of any other shape fails in one of these ways.
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{file} is broken ({type(error).__name__}). Verify the version (deepicd registry "
            "verify), or register the model again."
        ) from error
