"""Patients → splits: by hash, then repaired."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd.notes.splits import MIN_PATIENTS, assign_split, fill_splits, repair_splits
from deepicd.paths import SPLITS

SHARES = (0.6, 0.1, 0.2, 0.1)


@given(st.text(min_size=1), st.integers(0, 2**32))
def test_a_patient_is_in_one_split_whatever_else_there_is(patient_id: str, seed: int) -> None:
    assert assign_split(patient_id, SHARES, seed) == assign_split(patient_id, SHARES, seed)
    assert assign_split(patient_id, (1.0, 0.0, 0.0, 0.0), seed) == "train"


def test_splits_have_their_shares_and_change_with_the_seed() -> None:
    splits = [assign_split(str(number), SHARES, 1) for number in range(20_000)]
    for name, share in zip(SPLITS, SHARES, strict=True):
        assert splits.count(name) / 20_000 == pytest.approx(share, abs=0.012)
    other = [assign_split(str(number), SHARES, 2) for number in range(20_000)]
    assert sum(a == b for a, b in zip(splits, other, strict=True)) / 20_000 < 0.5


@pytest.mark.parametrize("num_patients", [MIN_PATIENTS - 1, MIN_PATIENTS])
def test_a_label_with_enough_patients_is_moved_into_training(num_patients: int) -> None:
    shares = (0.3, 0.2, 0.3, 0.2)
    everyone = [str(number) for number in range(200)]
    splits = {patient: assign_split(patient, shares, 1) for patient in everyone}
    held = [patient for patient in everyone if splits[patient] != "train"][:num_patients]
    labels = [(patient, "J189" if patient in held else "I214") for patient in everyone]
    repaired = repair_splits(splits, labels, seed=1)
    moved = [patient for patient in everyone if repaired[patient] != splits[patient]]
    if num_patients < MIN_PATIENTS:
        assert moved == []
    else:
        assert len(moved) == 1 and moved[0] in held and repaired[moved[0]] == "train"
    assert repair_splits(splits, labels[::-1], seed=1) == repaired  # whatever order they come in


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), max_size=120), st.integers(0, 9))
def test_every_label_with_enough_patients_is_in_training(
    pairs: list[tuple[int, int]], seed: int
) -> None:
    labels = [(str(patient), f"I{code}") for patient, code in pairs]
    splits = {patient: assign_split(patient, SHARES, seed) for patient, _ in labels}
    repaired = repair_splits(splits, labels, seed=seed)
    seen = {code for patient, code in labels if repaired[patient] == "train"}
    enough = {
        code for _, code in labels
        if len({patient for patient, other in labels if other == code}) >= MIN_PATIENTS
    }  # fmt: skip
    assert enough <= seen
    assert all(repaired[one] in (splits[one], "train") for one in splits)


@given(st.text(min_size=1), st.integers(0, 2**32), st.floats(0.05, 0.9), st.floats(0, 0.05))
def test_a_larger_training_share_gives_no_training_patient_away(patient, seed, train, more):
    rest = (1 - train) / 3
    before = assign_split(patient, (train, rest, rest, rest), seed)
    rest = (1 - train - more) / 3
    after = assign_split(patient, (train + more, rest, rest, rest), seed)
    assert before != "train" or after == "train"


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), max_size=80), st.integers(0, 9))
def test_repairing_twice_moves_nobody_else(pairs, seed):
    labels = [(str(patient), f"I{code}") for patient, code in pairs]
    splits = {patient: assign_split(patient, SHARES, seed) for patient, _ in labels}
    repaired = repair_splits(splits, labels, seed=seed)
    assert repair_splits(repaired, labels, seed=seed) == repaired


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 4)), min_size=1, max_size=40),
    st.integers(0, 9),
)
def test_no_split_of_a_small_corpus_is_empty_and_training_keeps_its_labels(
    pairs: list[tuple[int, int]], seed: int
) -> None:
    labels = [(str(patient), f"I{code}") for patient, code in pairs]
    by_hash = {patient: assign_split(patient, SHARES, seed) for patient, _ in labels}
    repaired = repair_splits(by_hash, labels, seed=seed)
    filled = fill_splits(repaired, labels, shares=SHARES, seed=seed)
    is_whole = len(filled) >= len(SPLITS)
    assert set(filled.values()) == set(SPLITS) if is_whole else filled == repaired
    moved = [patient for patient in filled if filled[patient] != repaired[patient]]
    assert len(moved) == (len(SPLITS) - len(set(repaired.values())) if is_whole else 0)
    again = fill_splits(dict(reversed(repaired.items())), labels[::-1], shares=SHARES, seed=seed)
    assert again == filled
    if len(filled) > 2 * len(SPLITS):
        assert repair_splits(filled, labels, seed=seed) == filled


def test_a_larger_corpus_is_split_by_hash_and_labels_alone() -> None:
    splits = {str(number): assign_split(str(number), SHARES, 1) for number in range(200)}
    labels = [(patient, "I10") for patient in splits]
    assert fill_splits(splits, labels, shares=SHARES, seed=1) == splits
