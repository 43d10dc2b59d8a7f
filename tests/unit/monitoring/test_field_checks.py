"""What may be kept of a prediction: identifiers, codes and names of groups, and no text."""

from dataclasses import replace

import pytest

from deepicd.errors import DataError
from deepicd.monitoring.field_checks import check_fields, check_identifier
from deepicd.records import ServedPrediction

PLANTED = "zebrafinch sonata in the patient's own words"
GOOD = ServedPrediction(
    id="p-1",
    version="v0001",
    time=1.0,
    code="I2510",
    reason=None,
    admission_id="hadm:7@ward",
    subgroups={"sex": "F", "age_band": "60-69", "race": "OTHER/UNKNOWN"},
)


def test_identifiers_codes_and_groups_pass():
    check_fields(GOOD)
    check_fields(replace(GOOD, code=None, reason="no_diagnosis", admission_id=None, subgroups={}))
    check_identifier("a" * 128, "prediction id")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": PLANTED}, "prediction id"),
        ({"id": ""}, "prediction id"),
        ({"id": "a" * 129}, "prediction id"),
        ({"id": "-a"}, "prediction id"),
        ({"version": "v 1"}, "version"),
        ({"role": "Champion"}, "role"),
        ({"code": "I25.10"}, "code"),
        ({"code": "i2510"}, "code"),
        ({"code": "CHEST PAIN"}, "code"),
        ({"code": None, "reason": PLANTED}, "reason"),
        ({"admission_id": PLANTED}, "admission id"),
        ({"admission_id": "7\n"}, "admission id"),
        ({"subgroups": {"sex": PLANTED}}, "group"),
        ({"subgroups": {"Any Thing": "F"}}, "attribute"),
    ],
)
def test_anything_that_could_be_text_is_refused_and_not_repeated(change, field):
    with pytest.raises(DataError, match=f"^{field} must match") as refused:
        check_fields(replace(GOOD, **change))
    assert PLANTED not in str(refused.value) and "characters that do not" in str(refused.value)


@pytest.mark.parametrize("value", ["20001.0", "1.0E7", "nan", "None", "null", "NA"])
def test_an_admission_that_is_none_or_went_through_a_float_is_refused(value):
    with pytest.raises(DataError, match=r"^admission id must be text or a whole number; it is"):
        check_fields(replace(GOOD, admission_id=value))
    check_fields(
        replace(GOOD, id=value)
    )  # an id of the endpoint's own making is not that of others
