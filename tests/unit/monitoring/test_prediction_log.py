"""The prediction log: late, doubled, corrected and early labels; several processes; no text."""

import json
import os
import pickle
import signal
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deepicd import cli
from deepicd.errors import CodeError, DataError, DeepICDError, MissingError, MonitoringError
from deepicd.monitoring.monitor import COLUMNS, Monitor, table_rows
from deepicd.monitoring.prediction_log import PredictionLog
from deepicd.records import ServedPrediction


@pytest.fixture
def log(tmp_path: Path) -> PredictionLog:
    return PredictionLog(tmp_path / "monitor", window=3)


def keep(log: PredictionLog, id: str, version: str = "v0001", **fields: Any) -> None:
    log.record(ServedPrediction(id=id, version=version, **{"code": None, "time": 1.0, **fields}))


def fill(log: PredictionLog, *answers: tuple[str, str | None], version: str = "v0001") -> None:
    """One prediction a second for (id, code)."""
    for second, (name, code) in enumerate(answers):
        reason = "no_diagnosis" if code is None else None
        keep(log, name, version, code=code, reason=reason, time=1000.0 + second)


def test_windows_hold_the_hierarchical_f1_of_what_is_labelled(log: PredictionLog) -> None:
    fill(log, ("a", "I2510"), ("b", "I259"), ("c", "J189"), ("d", None))
    for name, gold in (("a", "I25.10"), ("b", "I2510"), ("d", "J18.9")):
        assert log.label(name, gold, time=2000.0) == "stored"
    first, second = log.windows()
    # a: 3 of 3 nodes; b: chapter and category, 2 of 3; c is not labelled
    assert first.hierarchical_f1 == pytest.approx(5 / 6)
    assert first.low is not None and first.high is not None
    assert first.low <= 5 / 6 <= first.high
    assert (first.num_predictions, first.num_labelled) == (3, 2)
    assert (first.version, first.start, first.end) == ("v0001", 1000.0, 1002.0)
    assert (second.num_predictions, second.hierarchical_f1) == (1, 0.0)  # unusable: a miss


def test_without_labels_a_window_has_no_score(log: PredictionLog) -> None:
    fill(log, ("a", "I2510"))
    (window,) = log.windows()
    assert (window.hierarchical_f1, window.low, window.high) == (None, None, None)
    assert log.windows(size=1) == [window]


def test_versions_have_windows_of_their_own(log: PredictionLog) -> None:
    for i in range(8):
        keep(log, f"p{i}", f"v000{1 + i % 2}", code="I2510", time=float(i))
    sizes = [(w.version, w.num_predictions, w.start) for w in log.windows()]
    assert sizes == [("v0001", 3, 0), ("v0002", 3, 1), ("v0001", 1, 6), ("v0002", 1, 7)]


def test_the_same_label_twice_counts_once_and_a_correction_replaces_it(log: PredictionLog) -> None:
    fill(log, ("a", "I2510"))
    assert log.label("a", "J189") == "stored"
    assert log.label("a", "j18.9 ") == "unchanged"
    assert log.windows()[0].hierarchical_f1 == 0.0
    assert log.label("a", "I2510") == "corrected"
    assert log.windows()[0].hierarchical_f1 == 1.0
    assert (
        log.label("a", "J189") == "corrected"
    )  # back again: contradictory labels, the last counts
    assert log.windows()[0].hierarchical_f1 == 0.0
    assert log.counts()["num_labelled"] == 1


def test_a_label_before_its_prediction_waits_for_it(log: PredictionLog) -> None:
    assert log.label("a", "I2510") == "waiting"
    assert log.label("a", "I2510") == "unchanged"
    assert log.counts()["num_waiting"] == 1 and log.windows() == []
    fill(log, ("a", "I2510"))
    assert log.counts() == {
        "num_predictions": 1, "num_labelled": 1, "num_waiting": 0, "num_unparsable": 0,
    }  # fmt: skip
    assert log.windows()[0].hierarchical_f1 == 1.0


def test_an_earlier_moment_is_seen_as_it_was(log: PredictionLog) -> None:
    fill(log, ("a", "I2510"), ("b", "I2510"))
    log.label("a", "I2510", time=2000.0)
    log.label("a", "J189", time=3000.0)
    log.label("b", "I2510", time=4000.0)
    seen = [
        [(w.num_predictions, w.num_labelled, w.hierarchical_f1) for w in log.windows(as_of=moment)]
        for moment in (999.0, 1000.5, 2500.0, 3500.0, 4500.0)
    ]
    assert seen == [[], [(1, 0, None)], [(2, 1, 1.0)], [(2, 1, 0.0)], [(2, 2, 0.5)]]


def test_a_late_label_fills_its_window_and_moves_none(log: PredictionLog) -> None:
    fill(log, *((f"p{i}", "I2510") for i in range(6)))
    before = log.windows()
    log.label("p0", "I2510")
    after = log.windows()
    assert after[1] == before[1]
    assert (after[0].start, after[0].end, after[0].num_labelled) == (1000.0, 1002.0, 1)


def test_recording_again_is_idempotent_and_another_answer_is_refused(log: PredictionLog) -> None:
    fill(log, ("a", "I2510"))
    fill(log, ("a", "I2510"))
    assert log.counts()["num_predictions"] == 1
    with pytest.raises(DataError, match="a was recorded before with another answer"):
        fill(log, ("a", "J189"))


NOTE = "CHIEF COMPLAINT: chest pain, worse on exertion"


@pytest.mark.parametrize("field", ["id", "version", "code", "reason"])
def test_text_of_a_note_is_refused_in_every_field_and_not_repeated(
    log: PredictionLog, field: str
) -> None:
    fields = {"id": "a", "version": "v0001", "code": "I2510", "reason": None}
    with pytest.raises(DataError, match="must match") as caught:
        keep(log, **{**fields, field: NOTE})  # type: ignore[arg-type]
    assert "chest" not in str(caught.value)
    with pytest.raises(CodeError, match="not a billable") as caught_label:
        log.label("a", NOTE)
    assert "chest" not in str(caught_label.value)
    assert not log.file.exists() or b"chest" not in log.file.read_bytes()


@pytest.mark.parametrize("code", ["", "I25", "Z99999", "I2510 J189"])
def test_a_label_must_be_one_billable_code(log: PredictionLog, code: str) -> None:
    with pytest.raises(CodeError, match="label of a is not a billable"):
        log.label("a", code)


def test_a_window_size_below_one_is_refused(log: PredictionLog) -> None:
    with pytest.raises(DataError, match="at least 1 prediction; got 0"):
        log.windows(size=0)


def test_a_log_that_does_not_exist_or_is_something_else_says_so(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no prediction log"):
        PredictionLog.existing(tmp_path)
    (tmp_path / "predictions.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(MonitoringError, match="cannot be used"):
        PredictionLog.existing(tmp_path).counts()


def test_a_log_that_cannot_be_written_is_an_error_of_its_own_and_heals(log: PredictionLog) -> None:
    fill(log, ("a", "I2510"))
    log._open().execute("PRAGMA max_page_count = 1")  # SQLite's own "disk is full"
    with pytest.raises(MonitoringError, match="full"):
        fill(log, *((f"b{i}", "I2510") for i in range(1000)))
    log._open().execute("PRAGMA max_page_count = 1000000")
    keep(log, "z", "v0001", code="I2510")
    assert log.counts()["num_predictions"] > 1


def test_threads_and_processes_share_one_log(log: PredictionLog) -> None:
    children = []
    for child in range(2):
        pid = os.fork()
        if pid == 0:
            mine = PredictionLog(log.path)
            for i in range(50):
                keep(mine, f"c{child}-{i}", "v0001", code="I2510")
                mine.label(f"c{child}-{i}", "I2510")
            os._exit(0)
        children.append(pid)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: keep(log, f"t{i}", "v0002", code="J189"), range(100)))
    assert all(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 for pid in children)
    counts = log.counts()
    assert (counts["num_predictions"], counts["num_labelled"]) == (200, 100)


def test_a_killed_writer_leaves_whole_rows(log: PredictionLog) -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        mine = PredictionLog(log.path)
        for i in range(100_000):
            keep(mine, f"p{i}", "v0001", code="I2510")
            os.write(write, b".")
        os._exit(0)
    done = 0
    while done < 20:
        done += len(os.read(read, 1))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    (check,) = sqlite3.connect(log.file).execute("PRAGMA integrity_check").fetchone()
    assert check == "ok"
    assert log.counts()["num_predictions"] >= 20  # every answer that was confirmed is there
    keep(log, "next", "v0001", code="I2510")


def test_a_log_travels_to_another_process(log: PredictionLog) -> None:
    fill(log, ("a", "I2510"))
    copy = pickle.loads(pickle.dumps(log))
    log.close()
    assert copy.counts()["num_predictions"] == 1 and copy.window == 3


def test_status_tells_counts_overall_and_windows(log: PredictionLog) -> None:
    fill(log, *((f"p{i}", "I2510") for i in range(4)), ("q", None))
    for i in range(4):
        log.label(f"p{i}", "I2510")
    log.label("early", "I2510")
    found = Monitor(log).status(size=2)
    assert (found["num_predictions"], found["num_labelled"]) == (5, 4)
    assert (found["num_waiting"], found["num_unparsable"]) == (1, 1)
    (overall,) = found["overall"]
    assert overall["hierarchical_f1"] == 1.0 and overall["num_labelled"] == 4
    assert [w["num_predictions"] for w in found["windows"]] == [2, 2, 1]
    rows = table_rows(log.windows(2))
    assert all(len(row) == len(COLUMNS) for row in rows)
    assert rows[0][3:] == ("2", "2", "1.000", "0.040 to 1.000 (few patients)")
    assert rows[2][5:] == ("–", "–")
    assert rows[0][1] == "1970-01-01 00:16:40"


def test_an_empty_log_has_an_empty_status(log: PredictionLog) -> None:
    found = Monitor(log).status()
    assert (found["overall"], found["windows"], found["num_predictions"]) == ([], [], 0)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, ["monitor", *arguments])
    if isinstance(result.exception, DeepICDError):
        return result.exception.exit_code, str(result.exception)
    return result.exit_code, result.output


def test_the_command_takes_labels_in_and_shows_the_status(log: PredictionLog) -> None:
    fill(log, ("a", "I2510"), ("b", "J189"))
    folder = ("--log", str(log.path))
    assert run("label", "a", "I25.10", *folder) == (0, "stored\n")
    assert run("label", "zz", "I25.10", *folder, "--json") == (0, '{"outcome": "waiting"}\n')
    code, text = run("status", *folder, "--window", "1", "--json")
    found = json.loads(text)
    assert code == 0 and found["num_labelled"] == 1 and len(found["windows"]) == 2
    code, text = run("status", *folder)
    assert code == 0
    assert "2 predictions, 1 labelled, 0 without a usable code; 1 labels wait" in text
    code, text = run("label", "a", "nonsense", *folder)
    assert code == 3 and "not a billable" in text
    code, text = run("status", "--log", str(log.path / "none"))
    assert code == 4 and "no prediction log" in text


class Labels(BaseHTTPRequestHandler):
    """The endpoint's label route, as far as the command sees it."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        is_known = (self.path, body) == ("/v1/labels", {"prediction_id": "a", "code": "I2510"})
        self.send_response(202 if is_known else 422)
        self.end_headers()
        reply = {"outcome": self.headers.get("authorization", "no token")}
        self.wfile.write(json.dumps(reply if is_known else {"detail": "not accepted"}).encode())

    def log_message(self, *arguments: object) -> None:
        pass


def test_a_label_can_go_through_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPICD_TOKEN", "secret")
    server = HTTPServer(("127.0.0.1", 0), Labels)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    assert run("label", "a", "I2510", "--url", url) == (0, "Bearer secret\n")
    code, text = run("label", "a", "J189", "--url", url)
    assert code == 8 and "refuses the label" in text and "not accepted" in text
    server.shutdown()
    server.server_close()
    code, text = run("label", "a", "J189", "--url", url)
    assert code == 8 and "no endpoint answers" in text
