"""Memory that really runs out: one line, an exit code of its own, and `deepicd resume` goes on.

In the driver a limit of the operating system, which is lifted afterwards; in a worker Ray's own
guard, which kills it.
"""

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from smallest_run import EXPERIMENT

from deepicd.errors import ExhaustedError
from deepicd.paths import RunPaths

pytestmark = pytest.mark.timeout(900)
ENOUGH_BYTES = 24 << 20


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A training without promotion, and where its run lies."""
    file = tmp_path / "memory.toml"
    file.write_text(EXPERIMENT)
    return ["train", str(file), "--name", "a", "--no-promote", "--runs", str(tmp_path / "runs")]


def start(words: list[str], **variables: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "deepicd", *words]
    environment = {**os.environ, **variables}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


def read_until(process: subprocess.Popen[str], stage: str) -> str:
    """What a command says until it is in a stage."""
    assert process.stderr is not None
    told = ""
    for line in process.stderr:
        told += line
        if re.search(rf"\[\d+/\d+\] {stage}:", line):
            return told
    raise AssertionError(f"it did not come to {stage}: {told[-3000:]}")


def end(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    told = process.stderr.read()
    process.wait()
    return told


def told_what_ran_out(process: subprocess.Popen[str], told: str) -> bool:
    assert process.returncode == ExhaustedError.exit_code, (process.returncode, told[-3000:])
    last = told.splitlines()[-1]
    return last.startswith("deepicd: memory ran out") and "`deepicd resume a` goes on" in last


def test_a_driver_without_memory_and_a_worker_that_ray_kills_are_told_and_gone_on_from(
    words: list[str], tmp_path: Path
) -> None:
    paths = RunPaths(tmp_path / "runs" / "a")
    # The notes of the corpus are written by the driver itself.
    process = start([*words, "--set", "data.num_notes=8000"])
    read_until(process, "notes")
    taken = psutil.Process(process.pid).memory_info().vms
    resource.prlimit(
        process.pid, resource.RLIMIT_AS, (taken + ENOUGH_BYTES, resource.RLIM_INFINITY)
    )
    assert told_what_ran_out(process, end(process))
    assert not paths.seal("notes").exists()

    again = ["resume", "a", "--runs", str(tmp_path / "runs")]
    # Ray kills a worker where the machine uses more than this share of its memory: it does.
    strict = {"RAY_memory_usage_threshold": "0.001", "RAY_memory_monitor_refresh_ms": "0"}
    process = start(again, **strict)
    told = read_until(process, "sft")
    assert "notes took" in told and "model took" in told
    process.kill()
    process.wait()
    process = start(again, **{**strict, "RAY_memory_monitor_refresh_ms": "100"})
    assert told_what_ran_out(process, end(process))
    assert not paths.seal("sft").exists()

    process = start(again)
    read_until(process, "sweep")
    assert paths.seal("sft").exists()
    process.kill()
    process.wait()
