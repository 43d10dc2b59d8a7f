"""The gate where few patients are behind the notes: what they leave open is not decided."""

import pytest
from registry_models import QUICK, rows

from deepicd.promotion.gate import gate
from deepicd.records import Examination, Prediction


@pytest.mark.parametrize("num_patients", [1, 3, 19])
def test_a_gain_of_few_patients_has_a_wide_interval_and_says_so(num_patients: int) -> None:
    champion = rows(*[("I2510", "J189")] * 40, patients=num_patients)
    candidate = rows(*[("I2510", "I2510")] * 40, patients=num_patients)
    decision = gate(candidate, champion, config=QUICK, seed=0)
    low = decision.numbers["low"]
    assert decision.numbers["has_few_patients"] == 1 and low < decision.numbers["difference"] == 1
    assert decision.accepted == (low > 0) == (num_patients == 19)
    assert any(f"of few patients ({num_patients})" in reason for reason in decision.reasons)


def test_a_group_of_many_notes_and_few_patients_is_undecided_and_says_so() -> None:
    def side(right: int) -> Examination:
        notes = [
            Prediction(
                f"n{i}",
                f"f{i % 3}" if i < 40 else f"m{i}",
                "I2510",
                "I2510" if i >= right else "J189",
                groups={"sex": "F" if i < 40 else "M"},
            )
            for i in range(140)
        ]
        return Examination(notes)

    decision = gate(side(40), side(60), config=QUICK, seed=0)
    numbers = decision.numbers
    assert numbers["sex_F_has_few_patients"] == 1 and "sex_M_has_few_patients" not in numbers
    assert numbers["sex_F_low"] < 0 == numbers["sex_F_difference"] < numbers["sex_F_high"]
    (undecided,) = [reason for reason in decision.reasons if reason.startswith("undecided")]
    assert "sex_F" in undecided and "of few patients (3)" in undecided
    assert decision.accepted, "what nobody knows of a group blocks only where that is asked for"
