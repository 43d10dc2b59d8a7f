"""Hierarchical F1 and its gap by subgroup of patients, with intervals."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prediction_rows import POOL, build_random_rows, build_rows

from deepicd import scoring
from deepicd.errors import DataError


def with_groups(rows, *names):
    """The names in turn as `sex`; a None leaves a note without a group."""
    return [
        replace(row, groups={"sex": names[i % len(names)]} if names[i % len(names)] else {})
        for i, row in enumerate(rows)
    ]


def test_a_group_has_the_score_of_its_notes_and_the_gap_to_all_others():
    pairs = [("I10", "I10"), ("J189", "I10"), ("I10", None), ("J189", "J189")] * 2
    rows = with_groups(build_rows(pairs), "F", "M")
    found = {row["group"]: row for row in scoring.compare_groups(rows, min_notes=2)}
    for name, start in (("F", 0), ("M", 1)):
        own, others = rows[start::2], rows[1 - start :: 2]
        assert found[name]["num_notes"] == found[name]["num_patients"] == 4
        assert found[name]["hierarchical_f1"] == pytest.approx(scoring.hierarchical_f1(own))
        gap = scoring.hierarchical_f1(own) - scoring.hierarchical_f1(others)
        assert found[name]["gap"] == pytest.approx(gap)


def test_a_small_group_is_left_out_and_still_belongs_to_the_others():
    rows = build_rows([("I10", "I10")] * 31 + [("I10", None)] * 8)
    named = [
        replace(row, groups={"race": "A" if i < 31 else "B", "sex": "F"})
        for i, row in enumerate(rows)
    ]
    race, sex = scoring.compare_groups(named, num_bootstrap=200)
    assert (race["attribute"], race["group"], race["num_notes"], race["gap"]) == (
        *("race", "A", 31), 1.0,
    )  # fmt: skip
    assert (sex["num_notes"], sex["gap"], sex["gap_low"], sex["gap_high"]) == (39, None, None, None)


def test_a_group_or_others_of_few_patients_have_wide_intervals_and_say_so():
    # 40 notes a group; 3 patients in F, 40 in M: notes are enough, patients are not.
    rows = [
        replace(row, groups={"sex": sex}, patient_id=f"{sex}{number % patients}")
        for sex, patients in (("F", 3), ("M", 40))
        for number, row in enumerate(build_rows([("I10", "I10")] * 40))
    ]
    rows = [replace(row, note_id=str(number)) for number, row in enumerate(rows)]
    few, many = scoring.compare_groups(rows, num_bootstrap=100)
    assert (few["group"], few["num_patients"], many["num_patients"]) == ("F", 3, 40)
    assert few["has_few_patients"] and few["low"] < 0.3 and few["high"] == 1.0
    assert "has_few_patients" not in many and many["low"] == many["high"] == 1.0
    for row in (few, many):  # the gap hangs on both
        assert row["gap_has_few_patients"] and row["gap_low"] < -0.7 and row["gap_high"] > 0.7


def test_an_attribute_whose_groups_are_all_small_has_no_row():
    rows = with_groups(build_rows([("I10", "I10")] * 8), "F", "M")
    assert scoring.compare_groups(rows, min_notes=5) == []
    assert len(scoring.compare_groups(rows, min_notes=4, num_bootstrap=20)) == 2


def test_notes_without_a_group_are_in_no_row():
    rows = with_groups(build_rows([("I10", "I10")] * 90), "F", "M", None)
    assert sum(row["num_notes"] for row in scoring.compare_groups(rows, num_bootstrap=20)) == 60
    assert scoring.compare_groups(build_rows([("I10", "I10")] * 90)) == []


def test_the_interval_of_a_gap_covers_the_true_gap_about_as_often_as_it_says():
    num_covered = 0
    for seed in range(60):
        better = build_random_rows(120, 2 * seed, share_right=0.8)
        worse = build_random_rows(120, 2 * seed + 1, share_right=0.4)
        rows = [replace(row, groups={"sex": "F"}) for row in better] + [
            replace(row, note_id=f"m{row.note_id}", patient_id=f"m{row.patient_id}",
                    groups={"sex": "M"})
            for row in worse
        ]  # fmt: skip
        row, _ = scoring.compare_groups(rows, num_bootstrap=200, seed=seed)
        num_covered += row["gap_low"] <= TRUE_GAP <= row["gap_high"]
    assert 51 <= num_covered <= 60


def expected_score(share_right):
    return scoring.hierarchical_f1(build_random_rows(40_000, 99, share_right=share_right))


TRUE_GAP = expected_score(0.8) - expected_score(0.4)


def test_a_patient_who_changes_the_group_is_resampled_with_all_notes():
    rows = build_rows([("I10", "I10"), ("I10", None)] * 30, notes_per_patient=2)
    named = with_groups(rows, "50-59", "60-69")
    first, second = scoring.compare_groups(named, num_bootstrap=50)
    # Every patient has one right note in the first group and one wrong one in the second.
    assert (first["low"], first["high"], first["gap_low"], first["gap_high"]) == (1, 1, 1, 1)
    assert second["gap"] == -1 and second["num_patients"] == 30


def test_a_replicate_without_a_patient_of_the_group_does_not_count():
    rows = build_rows([("I10", "I10")] * 30, notes_per_patient=30)
    others = [replace(row, note_id=f"o{row.note_id}", patient_id="o") for row in rows]
    named = [replace(row, groups={"sex": "F"}) for row in rows]
    named += [replace(row, prediction=None, groups={"sex": "M"}) for row in others]
    row, _ = scoring.compare_groups(named, num_bootstrap=100)
    # One patient each: the rest of an interval is what so few leave open.
    assert (row["low"], row["high"], row["gap_low"], row["gap_high"]) == (0, 1, -1, 1)


def test_without_replicates_there_is_no_interval():
    rows = with_groups(build_rows([("I10", "I10")] * 60), "F", "M")
    for row in scoring.compare_groups(rows, num_bootstrap=0):
        assert "low" not in row and row["gap"] == 0


@given(st.lists(st.tuples(st.sampled_from(POOL), st.sampled_from([*POOL, None]),
                          st.sampled_from("FM")), min_size=2, max_size=30))  # fmt: skip
def test_two_groups_have_opposite_gaps_and_the_intervals_hold_in_order(drawn):
    rows = [
        replace(row, groups={"sex": sex})
        for row, (_, _, sex) in zip(
            build_rows([(gold, answer) for gold, answer, _ in drawn], 2), drawn, strict=True
        )
    ]
    found = scoring.compare_groups(rows, min_notes=1, num_bootstrap=30)
    assert sum(row["num_notes"] for row in found) == len(rows)
    for row in found:
        assert 0 <= row["low"] <= row["high"] <= 1
    if len(found) == 2:
        assert found[0]["gap"] == pytest.approx(-found[1]["gap"])
        assert (found[0]["gap_low"] is None) == (found[1]["gap_low"] is None)
        if found[0]["gap_low"] is not None:
            assert found[0]["gap_low"] == pytest.approx(-found[1]["gap_high"])
            assert found[0]["gap_low"] <= found[0]["gap_high"]


def test_a_gold_label_that_is_none_is_refused():
    with pytest.raises(DataError, match="not a billable"):
        scoring.compare_groups(with_groups(build_rows([("I2", "I10")] * 30), "F"))
