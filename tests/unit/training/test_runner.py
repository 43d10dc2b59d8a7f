"""The runner and its scratch folder, with a stand-in for the process that drives verl."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepicd.config import Experiment
from deepicd.training.process import runner as runners
from deepicd.training.process.protocol import (
    Done,
    Ended,
    Failed,
    Job,
    Message,
    Ready,
    Stage,
    Stopped,
    TrialEnd,
    TrialInput,
)
from deepicd.training.process.runner import Runner
from deepicd.training.process.scratch import Scratch, remove_stale

DRIVER = """
import os, sys, threading, time
from pathlib import Path
from deepicd.training.process.protocol import *
pipe = os.fdopen(int(sys.argv[1]), "w", buffering=1)
started, stop, jobs = 0, threading.Event(), []
def read():
    for line in sys.stdin:
        message = decode(line)
        stop.set() if isinstance(message, Stop) else (stop.clear(), jobs.append(message.job))
threading.Thread(target=read, daemon=True).start()
def send(message): pipe.write(encode(message))
while True:
    while not jobs: time.sleep(0.01)
    job = jobs.pop(0)
    name, started = job.name, started + 1
    if name == "other engine" and started > 1: send(OtherEngine()); break
    if name == "heir" and started > 1: send(Failed("OSError", "gone")); break
    send(Ready(reuses_engine=started > 1, ray_job=str(os.getpid())))
    if name == "dies": os._exit(3)
    if name == "dies in mid-line": pipe.write(encode(Done())[:9]); pipe.flush(); os._exit(3)
    if name == "babbles": pipe.write("Traceback\\n")
    if name == "fails": send(Failed("ValueError", "no")); os._exit(1)
    if "temporary" in name: send(Stage(os.environ["TMPDIR"]))
    while "long" in name and not (stop.is_set() and name != "deaf and long"): time.sleep(0.01)
    if "saves" in name: send(Step(1, {}, job.out / "global_step_1"))
    send(Stopped() if stop.is_set() else Done())
"""


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    monkeypatch.setattr(runners, "_DRIVER", (str(script),))
    monkeypatch.setattr(runners, "_STOP_TIMEOUT_S", 0.5)
    monkeypatch.setattr(runners, "_POLL_S", 0.1)
    runner = Runner()
    yield runner
    runner.close()


def job(name: str, folder: Path) -> Job:
    return Job(
        name=name,
        experiment=Experiment(),
        inputs=TrialInput(folder / "model", folder / "train", folder / "validation"),
        out=folder,
        address="",
        sweep="01000000",
        env={},
    )


def until_over(runner: Runner, name: str) -> list[Message]:
    messages: list[Message] = []
    while not messages or not isinstance(messages[-1], TrialEnd):
        message = runner.next_message(name)
        messages += [message] if message else []
    return messages


def until_ready(runner: Runner, name: str) -> Ready:
    while not isinstance(message := runner.next_message(name), Ready):
        assert not isinstance(message, TrialEnd)
    return message


def test_trials_follow_one_another_in_one_process(runner: Runner, tmp_path: Path) -> None:
    pids = []
    for number in range(3):
        runner.begin(job(f"t{number}", tmp_path))
        ready, over = until_over(runner, f"t{number}")
        assert ready.reuses_engine == (number > 0) and over == Done()
        pids.append(ready.ray_job)
    assert len(set(pids)) == 1


def test_a_trial_that_was_told_to_stop_is_waited_for(runner: Runner, tmp_path: Path) -> None:
    runner.begin(job("long", tmp_path))
    first = until_ready(runner, "long")
    runner.stop("long")
    assert runner.begin(job("next", tmp_path))
    ready, over = until_over(runner, "next")
    assert ready.ray_job == first.ray_job and over == Done()
    assert runner.next_message("long") == Stopped()


def test_a_slot_tells_how_ready_it_is_and_keeps_a_trial_that_runs(
    runner: Runner, tmp_path: Path
) -> None:
    assert runner.state("next") == "empty"
    assert runner.next_message("next").lost == ("the node of its runner was lost",)
    runner.begin(job("long", tmp_path))
    until_ready(runner, "long")
    assert (runner.state("long"), runner.state("next")) == ("own", "busy")
    assert not runner.begin(job("next", tmp_path)) and runner.state("long") == "own"
    runner.stop("long")
    assert runner.state("next") == "stopping"
    until_over(runner, "long")
    assert runner.state("next") == "idle"


def test_a_trial_that_starts_again_takes_its_own_slot(runner: Runner, tmp_path: Path) -> None:
    runner.begin(job("long", tmp_path))
    first = until_ready(runner, "long")
    assert runner.begin(job("long", tmp_path))
    assert until_ready(runner, "long").ray_job == first.ray_job


def test_a_trial_that_hangs_loses_its_process_and_nothing_else(
    runner: Runner, tmp_path: Path
) -> None:
    runner.begin(job("deaf and long", tmp_path))
    first = until_ready(runner, "deaf and long")
    runner.abandon("another")
    assert runner.state("deaf and long") == "own"
    runner.abandon("deaf and long")
    with pytest.raises(ProcessLookupError):
        os.kill(int(first.ray_job), 0)
    assert runner.begin(job("next", tmp_path))
    assert not until_over(runner, "next")[0].reuses_engine


def test_a_stop_that_comes_twice_does_not_stop_the_next_trial(
    runner: Runner, tmp_path: Path
) -> None:
    runner.begin(job("long", tmp_path))
    until_ready(runner, "long")
    runner.stop("another")
    runner.stop("long")
    runner.stop("long")
    runner.begin(job("next", tmp_path))
    assert until_over(runner, "next")[-1] == Done()


def test_a_trial_that_does_not_stop_costs_its_process(runner: Runner, tmp_path: Path) -> None:
    runner.begin(job("deaf and long", tmp_path))
    first = until_ready(runner, "deaf and long")
    runner.stop("deaf and long")
    runner.begin(job("next", tmp_path))
    ready = until_over(runner, "next")[0]
    assert ready.ray_job != first.ray_job and not ready.reuses_engine


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("dies", Ended(3)),
        ("dies in mid-line", Ended(3)),
        ("fails", Failed("ValueError", "no")),
    ],
)
def test_the_trial_after_a_fault_starts_in_a_new_process(
    runner: Runner, tmp_path: Path, name: str, end: Message
) -> None:
    runner.begin(job(name, tmp_path))
    assert until_over(runner, name)[-1] == end
    runner.begin(job("next", tmp_path))
    assert not until_over(runner, "next")[0].reuses_engine


def test_a_trial_that_needs_another_engine_starts_in_a_new_process(
    runner: Runner, tmp_path: Path
) -> None:
    runner.begin(job("first", tmp_path))
    until_over(runner, "first")
    runner.begin(job("other engine", tmp_path))
    *_, ready, over = until_over(runner, "other engine")
    assert not ready.reuses_engine and over == Done()


def test_a_fault_before_the_first_step_is_not_the_next_trials(
    runner: Runner, tmp_path: Path
) -> None:
    runner.begin(job("first", tmp_path))
    ready = until_over(runner, "first")[0]
    runner.begin(job("heir", tmp_path))
    *_, fresh, over = until_over(runner, "heir")
    assert not fresh.reuses_engine and over == Done()
    os.kill(int(fresh.ray_job), 9)
    runner.begin(job("next", tmp_path))
    *_, again, over = until_over(runner, "next")
    assert not again.reuses_engine and over == Done()
    assert len({ready.ray_job, fresh.ray_job, again.ray_job}) == 3


def test_a_checkpoint_that_nobody_hears_of_is_removed(runner: Runner, tmp_path: Path) -> None:
    saved = tmp_path / "global_step_1"
    saved.mkdir()
    runner.begin(job("long and saves", tmp_path))
    until_ready(runner, "long and saves")
    runner.stop("long and saves")
    runner.begin(job("next", tmp_path))
    assert until_over(runner, "next")[-1] == Done() and not saved.exists()


def test_closing_ends_the_process_and_its_temporary_files(runner: Runner, tmp_path: Path) -> None:
    runner.begin(job("long and temporary", tmp_path))
    ready = until_ready(runner, "long and temporary")
    while not isinstance(message := runner.next_message("long and temporary"), Stage):
        assert message is None
    temporary = Path(message.name)
    (temporary / "socket").touch()
    runner.close()
    assert not temporary.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int(ready.ray_job), 0)


def test_a_line_that_is_no_message_fails_the_trial_with_the_line(
    runner: Runner, tmp_path: Path
) -> None:
    runner.begin(job("babbles", tmp_path))
    end = until_over(runner, "babbles")[-1]
    assert isinstance(end, Failed) and "'Traceback" in end.message


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
