"""The prediction log as Parquet: in a folder, in an object store, and kept up to date."""

import threading
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest

from deepicd.errors import ConfigError, MonitoringError
from deepicd.monitoring import parquet_export as exporting
from deepicd.monitoring.parquet_export import export, keep_exported
from deepicd.monitoring.prediction_log import PredictionLog
from deepicd.records import ServedPrediction


@pytest.fixture
def log(tmp_path: Path) -> PredictionLog:
    made = PredictionLog(tmp_path / "log")
    made.record(ServedPrediction("a", "v1", 1.0, "I2510", subgroups={"sex": "F"}))
    made.label("a", "I10")
    return made


def test_the_same_rows_reach_a_folder_and_an_object_store(
    log: PredictionLog, tmp_path: Path
) -> None:
    place = f"memory://{tmp_path.name}/archive"
    for target in (tmp_path / "folder", place):
        assert export(log, target) == {"predictions": 1, "labels": 1}
    with fsspec.open(f"{place}/predictions.parquet") as file:
        stored = pq.read_table(file)
    assert stored.equals(pq.read_table(tmp_path / "folder" / "predictions.parquet"))
    assert stored.column("subgroups").to_pylist() == ['{"sex": "F"}']
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == [
        "labels.parquet", "predictions.parquet",
    ]  # fmt: skip


def test_a_place_that_cannot_be_written_is_named(log: PredictionLog, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot write to nothing://x"):
        export(log, "nothing://x")
    (tmp_path / "taken").write_text("")
    with pytest.raises(MonitoringError, match="cannot be written"):
        export(log, tmp_path / "taken")


def test_what_arrives_is_exported_until_the_end_and_a_failure_is_logged_once(
    log: PredictionLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_lines: list[str]
) -> None:
    monkeypatch.setattr(exporting, "PERIOD_S", 0.01)
    stopped, folder = threading.Event(), tmp_path / "kept"
    folder.write_text("in the way")
    thread = threading.Thread(target=keep_exported, args=(log, folder), kwargs={"stopped": stopped})
    thread.start()
    wait_until(lambda: bool(log_lines))
    folder.unlink()
    wait_until((folder / "labels.parquet").is_file)
    log.record(ServedPrediction("b", "v1", 2.0, "I2510"))
    stopped.set()
    thread.join()
    assert pq.read_table(folder / "predictions.parquet").num_rows == 2
    assert len(log_lines) == 1 and "not being written as Parquet" in log_lines[0]


def test_a_corrected_label_is_exported_though_it_changes_no_count(
    log: PredictionLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "PERIOD_S", 0.01)
    stopped, labels = threading.Event(), tmp_path / "kept" / "labels.parquet"
    thread = threading.Thread(
        target=keep_exported, args=(log, labels.parent), kwargs={"stopped": stopped}
    )
    thread.start()
    wait_until(labels.is_file)
    counts = log.counts()
    assert log.label("a", "E119") == "corrected" and log.counts() == counts
    stopped.set()
    thread.join()
    assert pq.read_table(labels).column("code").to_pylist() == ["I10", "E119"]


def wait_until(is_so) -> None:
    waiting = threading.Event()
    for _ in range(2000):
        if is_so():
            return
        waiting.wait(0.005)
    raise AssertionError("never")
