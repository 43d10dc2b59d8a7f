"""The build: which note goes to which split, in which order."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from deepicd.config import DataConfig
from deepicd.errors import DataError
from deepicd.notes import build
from deepicd.paths import SPLITS

SHARES = (0.6, 0.1, 0.2, 0.1)


def cut_rows(patients: list[str], golds: list[str] | None = None) -> pa.Table:
    """What the reader returns for kept notes, as far as splits need it."""
    columns = {"patient_id": patients, "code": golds or ["I214"] * len(patients)}
    return pa.table({**columns, "reason": [""] * len(patients)})


MIMIC = DataConfig(source="mimic", root=Path("mimic"), split_shares=SHARES)


def test_all_admissions_of_a_patient_stay_together() -> None:
    rows = build.split_rows(cut_rows([str(number // 3) for number in range(600)]), MIMIC, 1)
    homes: dict[str, set[str]] = {}
    for patient, split in zip(
        rows["patient_id"].to_pylist(), rows["split"].to_pylist(), strict=True
    ):
        homes.setdefault(patient, set()).add(split)
    assert len(homes) == 200 and all(len(names) == 1 for names in homes.values())


def test_rows_are_shuffled_by_the_seed_within_their_split() -> None:
    splits = [SPLITS[number % 4] for number in range(400)]
    positions = build.order_rows(splits, 1)
    assert sorted(positions.tolist()) == list(range(400))
    assert all(positions[row] // 100 == row % 4 for row in range(400))
    assert positions[::4].tolist() != sorted(positions[::4].tolist())
    assert build.order_rows(splits, 1).tolist() == positions.tolist()
    assert build.order_rows(splits, 2).tolist() != positions.tolist()


def test_the_embedded_corpus_keeps_the_splits_that_its_phrases_were_sampled_for() -> None:
    patients = [str(number) for number in range(300)]
    decided = {one: "test" if int(one) % 3 else "train" for one in patients}
    decided |= {"0": "validation", "3": "promotion"}
    rows = build.split_rows(cut_rows(patients), DataConfig(), 1, split_of=decided)
    assert rows["split"].to_pylist() == [decided[one] for one in rows["patient_id"].to_pylist()]


def test_an_empty_split_and_an_empty_build_are_refused() -> None:
    with pytest.raises(DataError, match="is empty with 1 patients and a share of"):
        build.split_rows(cut_rows(["1"]), MIMIC, 1)
    dropped = pa.table({"reason": ["addendum", "no_core_section", "addendum"]})
    with pytest.raises(
        DataError, match=r"of 3 rows none is left \(addendum 2, no_core_section 1\)"
    ):
        build.split_rows(dropped, MIMIC, 1)
