"""The asynchronous log over a real one: what is kept, refused, and said when it fails."""

import asyncio
import logging
from pathlib import Path

import pytest

from deepicd.monitoring.prediction_log import PredictionLog
from deepicd.records import ServedPrediction
from deepicd.serving.errors import RefusedError
from deepicd.serving.ingress.prediction_log import AsyncPredictionLog

PLANTED = "zebrafinch-sonata"


def prediction(name: str, **fields) -> ServedPrediction:
    return ServedPrediction(id=name, version="v1", time=1.0, code="I2510", **fields)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "monitor"


def test_an_answer_and_its_label_are_in_the_report(folder):
    log = AsyncPredictionLog(PredictionLog(folder))

    async def play() -> str:
        await log.record(prediction("p1", admission_id="a1"))
        return await log.label("a1", "I25.10", by="admission")

    assert asyncio.run(play()) == "stored" and log.status == "on"
    report = asyncio.run(log.report())
    assert report is not None and report.counts["num_labelled"] == 1
    assert [window.hierarchical_f1 for window in report.windows] == [1.0]


def test_a_folder_that_cannot_be_written_makes_it_blind_until_one_write_succeeds(folder, caplog):
    folder.write_text("a file where the folder should be")
    log = AsyncPredictionLog(PredictionLog(folder))
    with caplog.at_level(logging.ERROR):
        asyncio.run(log.record(prediction("p1")))
        asyncio.run(log.record(prediction("p2")))
    assert log.status == "blind"
    assert [record.message for record in caplog.records] == [
        "predictions are not being kept: MonitoringError"
    ]
    folder.unlink()
    asyncio.run(log.record(prediction("p3")))
    assert log.status == "on"


def test_a_field_that_could_be_text_is_not_kept_and_not_repeated(folder, caplog):
    log = AsyncPredictionLog(PredictionLog(folder))
    with caplog.at_level(logging.ERROR):
        asyncio.run(log.record(prediction("p1", admission_id=f"{PLANTED} of a note")))
    assert log.status == "blind" and PLANTED not in caplog.text


@pytest.mark.parametrize(("key", "code"), [("p1", "I25"), ("p1", "pain"), ("a b", "I25.10")])
def test_a_label_that_cannot_be_one_is_refused_with_422(folder, key, code):
    log = AsyncPredictionLog(PredictionLog(folder))
    with pytest.raises(RefusedError, match="the label is not accepted") as refused:
        asyncio.run(log.label(key, code))
    assert refused.value.status == 422


def test_a_label_that_cannot_be_written_is_refused_with_503(folder):
    folder.write_text("a file where the folder should be")
    log = AsyncPredictionLog(PredictionLog(folder))
    with pytest.raises(RefusedError, match="could not be kept") as refused:
        asyncio.run(log.label("p1", "I25.10"))
    assert refused.value.status == 503 and refused.value.headers == {"retry-after": "30"}


def test_without_a_log_nothing_is_kept_and_labels_are_refused():
    log = AsyncPredictionLog(None)
    asyncio.run(log.record(prediction("p1")))
    assert log.status == "off" and asyncio.run(log.report()) is None
    with pytest.raises(RefusedError, match="keeps no predictions"):
        asyncio.run(log.label("p1", "I25.10"))
