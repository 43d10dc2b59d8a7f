"""Values of a stage: written as JSON that any reader takes, and the same when they are read."""

import json
import math
from dataclasses import dataclass, field

import pytest

from deepicd.errors import DataError
from deepicd.pipeline.values import read_value, write_value
from deepicd.records import Checkpoint, Trial


@dataclass(frozen=True)
class Pair:
    """A value with a number that may be none."""

    needed: float
    known: float | None = None
    rows: list[dict[str, float]] = field(default_factory=list)


def test_a_score_that_is_no_number_is_null_in_the_file_and_none_again_when_it_is_read(tmp_path):
    file = tmp_path / "deep" / "value.json"
    write_value(file, Pair(math.nan, None, [{"a": math.inf, "b": 0.5}]), Pair)
    plain = json.loads(file.read_text(), parse_constant=pytest.fail)
    assert plain == {"known": None, "needed": None, "rows": [{"a": None, "b": 0.5}]}
    read = read_value(file, Pair)
    assert math.isnan(read.needed) and read.known is None
    assert math.isnan(read.rows[0]["a"]) and read.rows[0]["b"] == 0.5


def test_a_trial_that_scored_nothing_is_read_back(tmp_path):
    file = tmp_path / "trials.json"
    checkpoint = Checkpoint("sweep/x", 4, {"hierarchical_f1": math.nan})
    write_value(file, [Trial("a", {}, "failed", 4, {"f1": math.nan}, checkpoint)], list[Trial])
    (trial,) = read_value(file, list[Trial])
    assert math.isnan(trial.validation["f1"])
    assert math.isnan(trial.checkpoint.metrics["hierarchical_f1"])


@pytest.mark.parametrize("text", ["{", '{"needed": "much"}', '{"needed": null, "more": {}}', "[]"])
def test_what_was_changed_by_hand_is_refused(tmp_path, text):
    file = tmp_path / "value.json"
    file.write_text(text)
    with pytest.raises(DataError, match="is not as it was written; remove it"):
        read_value(file, dict[str, int] if "more" in text else Pair)
