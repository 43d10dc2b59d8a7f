"""Scores on disk and the majority baseline; generation itself is in tests/ray."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepicd.errors import CheckpointError, DataError, MissingError
from deepicd.evaluation import OfflineEngine, evaluate, majority_predictions, predict
from deepicd.records import Limits, Prediction
from deepicd.scoring import read_predictions

TEXT = "CHIEF COMPLAINT: chest pain"


def write_notes(path: Path, *codes: str) -> Path:
    columns = {
        "note_id": [f"n{i}" for i in range(len(codes))],
        "patient_id": [f"p{i}" for i in range(len(codes))],
        "text": [TEXT] * len(codes),
        "code": list(codes),
    }
    pq.write_table(pa.table(columns, schema=pa.schema([(n, pa.string()) for n in columns])), path)
    return path


def test_the_majority_is_counted_in_training_and_ties_go_by_code(tmp_path: Path) -> None:
    train = write_notes(tmp_path / "train.parquet", "J189", "I2510", "I2510", "J189", "N179")
    test = write_notes(tmp_path / "test.parquet", "J189", "J189", "N179")
    found = majority_predictions(train, test)
    assert found == [
        Prediction("n0", "p0", "J189", "I2510"),
        Prediction("n1", "p1", "J189", "I2510"),
        Prediction("n2", "p2", "N179", "I2510"),
    ]
    assert majority_predictions(train, test, note_ids=["n2", "n0"]) == [found[0], found[2]]


def test_missing_and_empty_splits_are_refused(tmp_path: Path) -> None:
    test = write_notes(tmp_path / "test.parquet", "J189")
    with pytest.raises(MissingError, match=r"no notes at .*train.parquet"):
        majority_predictions(tmp_path / "train.parquet", test)
    empty = write_notes(tmp_path / "empty.parquet")
    with pytest.raises(DataError, match="holds no notes"):
        majority_predictions(test, empty)


def test_scores_are_written_with_the_frozen_labels_reasons_and_thirds(tmp_path: Path) -> None:
    train = write_notes(tmp_path / "train.parquet", *["I2510"] * 3, *["J189"] * 2, "N179")
    predictions = [
        Prediction("n0", "p0", "I2510", "I2510"),
        Prediction("n1", "p1", "J189", "J188"),
        Prediction("n2", "p2", "N179", None, "unknown_code"),
        Prediction("n3", "p2", "N179", None, "no_diagnosis"),
    ]
    out = tmp_path / "out" / "sft"
    scores = evaluate(predictions, out, train=train, num_bootstrap=50, facts={"model": "sft"})
    assert scores["accuracy_full"] == 0.25 and scores["accuracy_category"] == 0.5
    assert scores["macro_f1_full"] == pytest.approx(1 / 3)
    # shared nodes 3 + 2, predicted 6, gold 12
    assert scores["hierarchical_f1"] == pytest.approx(2 * 5 / (6 + 12))
    assert scores["hierarchical_f1_low"] <= 10 / 18 <= scores["hierarchical_f1_high"]
    assert scores["share_unparsable"] == 0.5 and scores["share_unknown_code"] == 0.25
    report = json.loads((out / "scores.json").read_text())
    assert report["scores"] == scores
    assert report["labels"]["full"] == ["I2510", "J189", "N179"]
    assert report["reasons"] == {"no_diagnosis": 1, "unknown_code": 1}
    assert report["facts"] == {"num_bootstrap": 50, "seed": 1, "model": "sft"}
    assert report["thirds"]["head"]["accuracy_full"] == 1.0
    assert report["thirds"]["tail"]["num_notes"] == 2
    assert read_predictions(out / "predictions.jsonl") == predictions
    assert sorted(path.name for path in out.iterdir()) == ["predictions.jsonl", "scores.json"]


def test_nothing_to_score_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to score"):
        evaluate([], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_prediction_is_refused_before_ray_starts(tmp_path: Path) -> None:
    split = write_notes(tmp_path / "test.parquet", "J189")
    limits = Limits(64, 8)
    with pytest.raises(MissingError, match=r"no config\.json"):
        predict(tmp_path, split, limits=limits)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    split.unlink()
    with pytest.raises(CheckpointError, match="is refused"):
        predict(tmp_path, split, limits=limits)


def test_engine_settings_follow_the_profile() -> None:
    cpu, gpu = (OfflineEngine.for_profile(profile, seed=7) for profile in ("cpu", "gpu"))
    assert (cpu.dtype, cpu.num_gpus, cpu.seed) == ("float32", 0, 7)
    assert (gpu.dtype, gpu.num_gpus, gpu.kv_cache_bytes) == ("bfloat16", 1, None)
