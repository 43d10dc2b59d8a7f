"""The slot and its scratch folder, with a stand-in for the process that drives verl."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from deepicd.training.process import runner as slots
from deepicd.training.process.protocol import Job
from deepicd.training.process.runner import OVER, Slot
from deepicd.training.process.scratch import Scratch, remove_stale

DRIVER = """
import json, os, pathlib, sys, threading, time
pipe = os.fdopen(int(sys.argv[1]), "w", buffering=1)
started, stop, lines = 0, threading.Event(), []
def read():
    for line in sys.stdin:
        message = json.loads(line)
        stop.set() if message["kind"] == "stop" else (stop.clear(), lines.append(message))
threading.Thread(target=read, daemon=True).start()
def send(**message): pipe.write(json.dumps(message) + "\\n")
while True:
    while not lines: time.sleep(0.01)
    job = json.loads(pathlib.Path(lines.pop(0)["job"]).read_text())
    name, started = job["name"], started + 1
    if name == "other engine" and started > 1: send(kind="cold"); break
    if name == "heir" and started > 1: send(kind="error", type="OSError", message="gone"); break
    send(kind="ready", is_warm=started > 1, pid=os.getpid(), tmp=os.environ["TMPDIR"])
    if name == "dies": os._exit(3)
    if name == "fails": send(kind="error", type="ValueError", message="no"); os._exit(1)
    while "long" in name and not (stop.is_set() and name != "deaf and long"): time.sleep(0.01)
    if "saves" in name: send(kind="step", checkpoint=job["out"] + "/global_step_1")
    send(kind="stopped" if stop.is_set() else "done")
"""


@pytest.fixture
def slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slot]:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    monkeypatch.setattr(slots, "_DRIVER", (str(script),))
    monkeypatch.setattr(slots, "_STOP_TIMEOUT_S", 0.5)
    monkeypatch.setattr(slots, "_POLL_S", 0.1)
    slot = Slot()
    yield slot
    slot.close()


def job(name: str, folder: Path) -> dict[str, Any]:
    made = Job(
        name=name,
        experiment={},
        given={},
        out=str(folder),
        resume=None,
        record=str(folder / "verl.yaml"),
        log=str(folder / f"{name}.log"),
        address="",
        env={},
        num_gpus=1,
        min_probs_pearson=None,
        sweep="01000000",
        room_timeout_s=1.0,
    )
    return asdict(made)


def until_over(slot: Slot, name: str) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    while not messages or messages[-1]["kind"] not in OVER:
        message = slot.next_message(name)
        messages += [message] if message else []
    return messages


def until_ready(slot: Slot, name: str) -> dict[str, Any]:
    while (message := slot.next_message(name)) is None or message["kind"] != "ready":
        assert message is None or message["kind"] not in OVER
    return message


def test_trials_follow_one_another_in_one_process(slot: Slot, tmp_path: Path) -> None:
    pids = []
    for number in range(3):
        slot.begin(job(f"t{number}", tmp_path))
        ready, over = until_over(slot, f"t{number}")
        assert ready["is_warm"] == (number > 0) and over["kind"] == "done"
        pids.append(ready["pid"])
    assert len(set(pids)) == 1


def test_a_trial_that_was_told_to_stop_is_waited_for(slot: Slot, tmp_path: Path) -> None:
    slot.begin(job("long", tmp_path))
    first = until_ready(slot, "long")
    slot.stop("long")
    assert slot.begin(job("next", tmp_path))
    ready, over = until_over(slot, "next")
    assert ready["pid"] == first["pid"] and over["kind"] == "done"
    assert slot.next_message("long") == {"kind": "stopped"}


def test_a_slot_tells_how_ready_it_is_and_keeps_a_trial_that_runs(
    slot: Slot, tmp_path: Path
) -> None:
    assert slot.state("next") == "empty"
    assert slot.next_message("next")["lost"] == ["the node of its slot was lost"]
    slot.begin(job("long", tmp_path))
    until_ready(slot, "long")
    assert (slot.state("long"), slot.state("next")) == ("own", "busy")
    assert not slot.begin(job("next", tmp_path)) and slot.state("long") == "own"
    slot.stop("long")
    assert slot.state("next") == "stopping"
    until_over(slot, "long")
    assert slot.state("next") == "warm"


def test_a_trial_that_starts_again_takes_its_own_slot(slot: Slot, tmp_path: Path) -> None:
    slot.begin(job("long", tmp_path))
    first = until_ready(slot, "long")
    assert slot.begin(job("long", tmp_path))
    assert until_ready(slot, "long")["pid"] == first["pid"]


def test_a_trial_that_hangs_loses_its_process_and_nothing_else(slot: Slot, tmp_path: Path) -> None:
    slot.begin(job("deaf and long", tmp_path))
    first = until_ready(slot, "deaf and long")
    slot.abandon("another")
    assert slot.state("deaf and long") == "own"
    slot.abandon("deaf and long")
    with pytest.raises(ProcessLookupError):
        os.kill(first["pid"], 0)
    assert slot.begin(job("next", tmp_path))
    assert not until_over(slot, "next")[0]["is_warm"]


def test_a_stop_that_comes_twice_does_not_stop_the_next_trial(slot: Slot, tmp_path: Path) -> None:
    slot.begin(job("long", tmp_path))
    until_ready(slot, "long")
    slot.stop("another")
    slot.stop("long")
    slot.stop("long")
    slot.begin(job("next", tmp_path))
    assert until_over(slot, "next")[-1]["kind"] == "done"


def test_a_trial_that_does_not_stop_costs_its_process(slot: Slot, tmp_path: Path) -> None:
    slot.begin(job("deaf and long", tmp_path))
    first = until_ready(slot, "deaf and long")
    slot.stop("deaf and long")
    slot.begin(job("next", tmp_path))
    ready = until_over(slot, "next")[0]
    assert ready["pid"] != first["pid"] and not ready["is_warm"]


@pytest.mark.parametrize(("name", "kind"), [("dies", "ended"), ("fails", "error")])
def test_the_trial_after_a_fault_starts_cold(
    slot: Slot, tmp_path: Path, name: str, kind: str
) -> None:
    slot.begin(job(name, tmp_path))
    over = until_over(slot, name)[-1]
    assert over["kind"] == kind and over.get("code", 3) == 3
    slot.begin(job("next", tmp_path))
    assert not until_over(slot, "next")[0]["is_warm"]


def test_a_trial_that_needs_another_engine_starts_cold(slot: Slot, tmp_path: Path) -> None:
    slot.begin(job("first", tmp_path))
    until_over(slot, "first")
    slot.begin(job("other engine", tmp_path))
    *_, ready, over = until_over(slot, "other engine")
    assert not ready["is_warm"] and over["kind"] == "done"


def test_a_fault_before_the_first_step_is_not_the_next_trials(slot: Slot, tmp_path: Path) -> None:
    slot.begin(job("first", tmp_path))
    ready = until_over(slot, "first")[0]
    slot.begin(job("heir", tmp_path))
    *_, cold, over = until_over(slot, "heir")
    assert not cold["is_warm"] and over["kind"] == "done"
    os.kill(cold["pid"], 9)
    slot.begin(job("next", tmp_path))
    *_, again, over = until_over(slot, "next")
    assert not again["is_warm"] and over["kind"] == "done"
    assert len({ready["pid"], cold["pid"], again["pid"]}) == 3


def test_a_checkpoint_that_nobody_hears_of_is_removed(slot: Slot, tmp_path: Path) -> None:
    saved = tmp_path / "global_step_1"
    saved.mkdir()
    slot.begin(job("long and saves", tmp_path))
    until_ready(slot, "long and saves")
    slot.stop("long and saves")
    slot.begin(job("next", tmp_path))
    assert until_over(slot, "next")[-1]["kind"] == "done" and not saved.exists()


def test_closing_ends_the_process_and_its_temporary_files(slot: Slot, tmp_path: Path) -> None:
    slot.begin(job("long", tmp_path))
    ready = until_ready(slot, "long")
    (Path(ready["tmp"]) / "socket").touch()
    slot.close()
    assert not Path(ready["tmp"]).exists()
    with pytest.raises(ProcessLookupError):
        os.kill(ready["pid"], 0)


def test_the_folder_of_an_owner_that_was_killed_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = (
        "import os, tempfile; from deepicd.training.process.scratch import Scratch;"
        f"tempfile.tempdir = {str(tmp_path)!r}; print(Scratch('a-').path, flush=True);"
        "os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    killed, mine = Path(done.stdout.strip()), Scratch("b-")
    other = tmp_path / "a-of-somebody-else"
    other.mkdir()
    assert killed.is_dir() and remove_stale("b-") == []
    assert remove_stale("a-") == [killed] and not killed.exists() and other.exists()
    mine.remove()
    mine.remove()
    assert not mine.path.exists()


def test_a_folder_that_is_written_to_while_it_goes_is_left_to_the_next_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mine = Scratch("c-")
    remove = shutil.rmtree

    def remove_and_lose(path: Path, **options: Any) -> None:
        remove(path, **options)
        path.mkdir()
        (path / "late").touch()

    with monkeypatch.context() as late:
        late.setattr(shutil, "rmtree", remove_and_lose)
        mine.remove()
    assert mine.path.is_dir() and remove_stale("c-") == [mine.path] and not mine.path.exists()
