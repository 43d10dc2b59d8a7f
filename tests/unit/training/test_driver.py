"""The driver's ears and last words: what it is told, what it says of an error, when it dies."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepicd.config import Experiment
from deepicd.errors import CapacityError, ConfigError
from deepicd.training.grpo import driver
from deepicd.training.process.protocol import Job, Message, Start, Stop, TrialInput, encode

ORPHAN = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())])
print(child.pid, flush=True)
time.sleep(60)
"""
CHILD = """
import sys, time
from deepicd.training.grpo.driver import set_parent_death_signal
set_parent_death_signal(int(sys.argv[1]))
print("alive", flush=True)
time.sleep(60)
"""


def job(name: str) -> Job:
    inputs = TrialInput(*[Path("/x")] * 3)
    return Job(name, Experiment(), inputs, Path("/o"), address="", sweep="01000000", env={})


def inbox_of(monkeypatch: pytest.MonkeyPatch, *messages: Message, rest: str = "") -> driver._Inbox:
    text = "".join(map(encode, messages)) + rest
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    return driver._Inbox()


def test_jobs_come_in_order_and_the_end_of_the_pipe_ends_them(monkeypatch):
    inbox = inbox_of(monkeypatch, Start(job("a")), Start(job("b")))
    assert [inbox.next_job(), inbox.next_job(), inbox.next_job()] == [job("a"), job("b"), None]
    inbox.raise_if_stopped()


def test_a_stop_reaches_the_trial_that_runs(monkeypatch):
    inbox = inbox_of(monkeypatch, Start(job("a")), Stop())
    assert inbox.next_job() == job("a") and inbox.next_job() is None
    with pytest.raises(driver._StoppedError, match=r"^$"):
        inbox.raise_if_stopped()


def test_a_new_job_takes_back_the_stop_of_the_one_before(monkeypatch):
    inbox = inbox_of(monkeypatch, Start(job("a")), Stop(), Start(job("b")))
    assert [inbox.next_job(), inbox.next_job(), inbox.next_job()] == [job("a"), job("b"), None]
    inbox.raise_if_stopped()


def test_a_runner_that_cannot_be_understood_has_no_further_job_and_the_log_says_why(
    monkeypatch, caplog
):
    inbox = inbox_of(monkeypatch, Start(job("a")), rest="{}\n")
    assert inbox.next_job() == job("a") and inbox.next_job() is None
    assert "line that is no message: '{}" in caplog.text


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (CapacityError("no room\nhere"), "no room\nhere"),
        (ValueError("RayTaskError\n  at line 3\n\nValueError: no  \n"), "ValueError: no"),
        (ValueError("x" * 900), "x" * 500),
        (KeyError(), "KeyError"),
    ],
)
def test_an_error_is_told_in_our_words_or_by_its_last_line(error, words):
    assert driver.explain(error) == words


def test_an_error_of_the_settings_is_not_blamed_on_a_lost_node():
    assert driver._lost_nodes(ConfigError("unknown key")) == []


def test_without_a_cluster_no_node_can_be_lost():
    assert driver._lost_nodes(RuntimeError("before Ray was joined")) == []


def test_the_process_ends_when_its_parent_is_killed():
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, CHILD],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert parent.stdout.readline() == "alive\n"
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(child)


def is_running(process: int) -> bool:
    """Whether a process is there and no zombie that nobody has asked for."""
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_a_process_whose_parent_is_gone_already_does_not_start():
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(os.getpid() + 10**6)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1 and "which started this run, is gone" in done.stderr
