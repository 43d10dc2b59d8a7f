"""The report of a build: counts, and how it is read back."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from deepicd.errors import DataError, MissingError
from deepicd.notes import build_report
from deepicd.paths import SPLITS


def test_the_report_counts_splits_labels_chapters_lengths_and_reasons() -> None:
    columns = {"split": SPLITS, "patient_id": SPLITS, "num_characters": [5, 10, 15, 59]}
    kept = pa.table({**columns, "code": ["I214", "I214", "J189", "I214"]})
    summary = build_report.summarise_build(kept, ["", "addendum", "addendum", "", "", ""])
    assert summary["num_notes"] == 4
    assert summary["dropped"] == {"addendum": 2}
    assert summary["labels"]["J189"] == {"train": 0, "validation": 0, "test": 1, "promotion": 0}
    assert summary["labels_unseen_in_train"] == {"validation": 0, "test": 1, "promotion": 0}
    assert summary["splits"]["test"]["characters_max"] == 15
    assert summary["chapters"]["X"] == summary["labels"]["J189"]
    lengths = summary["lengths"]
    assert [lengths["counts"][bin] for bin in (2, 5, 7, 29)] == [1, 1, 1, 1]
    assert (lengths["edges"][0], lengths["edges"][-1], sum(lengths["counts"])) == (0, 60, 4)


def test_a_report_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no report at"):
        build_report.read_build_report(tmp_path)
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(DataError, match="is not JSON"):
        build_report.read_build_report(tmp_path)


def test_the_report_counts_unknown_headers_and_texts_that_are_no_summaries() -> None:
    rows = pa.table({"num_unknown": [0, 3, 1, 0]})
    report = build_report.summarise_reading(rows, ["", "radiology_report", ""])
    assert report["unknown_headers"] == {"num_lines": 4, "num_notes": 2, "share": 2 / 3}
    (seen,) = report["kinds"].values()
    assert (seen["count"], seen["share"]) == (1, 1 / 3) and "note/radiology" in seen["what"]
