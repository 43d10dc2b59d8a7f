"""What verl gets for an answer."""

import adversarial as cases
import pytest
from adversarial import hostile
from hypothesis import given

from deepicd.rewards import PRESETS
from deepicd.rewards.verl_entry import compute_score


@pytest.mark.parametrize("preset", PRESETS)
@given(text=hostile)
def test_verl_gets_the_same_columns_for_every_answer(preset, text):
    result = compute_score("deepicd", text, "I25.10", {"note_id": "n1"}, preset=preset)
    names = list(PRESETS[preset])
    assert set(result) == {
        *("score", "parsable", "prediction", "gold", "note_id", "patient_id"),
        *(f"{kind}_{name}" for name in names for kind in ("reward", "weighted")),
    }
    assert result["score"] == pytest.approx(sum(result[f"weighted_{name}"] for name in names))
    assert result["parsable"] == float(result["prediction"] != "")


def test_verl_entry_takes_weights_curve_and_note():
    text = cases.build(cases.GENERIC, "I25.2")
    options = {
        "preset": "default",
        "weights": {"hierarchy": 0.5, "length": 0},
        "hierarchy_curve": 2.0,
    }
    result = compute_score(
        "d", text, "I2510", {"note": cases.NOTE}, **options, reward_router_address="x"
    )
    assert result["weighted_hierarchy"] == pytest.approx(0.5 * 0.36)
    assert result["reward_reasoning"] == 0
    assert result["weighted_length"] == 0
    assert compute_score("d", text, "I2510", {"note": 7}, **options)["reward_reasoning"] == 1
    assert compute_score("d", text, "I2510", None, **options)["prediction"] == "I252"
