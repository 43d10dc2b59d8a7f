"""A run that is killed with -9 in each of its stages, and what comes after it in the same folder.

The smallest run with the real verl, vLLM and Ray: one training of two steps. It is killed in every
stage and resumed each time, and ends as an unbroken run would. Then `deepicd serve` follows the
registry that it left, while an unbroken sweep's winner takes the champion's place.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from processes import wait_until_gone
from smallest_run import EXPERIMENT, PORT

from deepicd.errors import CapacityError, DataError, ExhaustedError
from deepicd.paths import RunPaths
from deepicd.pipeline.folder.command import Command
from deepicd.pipeline.stage import STAGES

pytestmark = pytest.mark.timeout(2400)

TWO_TRIALS = (
    *("--set", "sweep.num_trials=2", "--set", "sweep.scheduler=none"),
    "--set",
    'sweep.search."rewards.weights.hierarchy"={type="uniform",low=0.1,high=1.0}',
)


@dataclass
class Road:
    """What the killed run left, and what was seen on the way."""

    runs: Path
    output: str = ""
    killed: list[str] = field(default_factory=list)
    started: list[psutil.Process] = field(default_factory=list)
    progress: str = ""

    @property
    def paths(self) -> RunPaths:
        return RunPaths(self.runs / "a")


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "deepicd", *words]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("experiment") / "kills.toml"
    file.write_text(EXPERIMENT)
    return file


@pytest.fixture(scope="module")
def road(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Road:
    road = Road(tmp_path_factory.mktemp("runs"))
    first = command("run", str(experiment), "--name", "a", "--runs", str(road.runs), "--json")
    again = command("resume", "a", "--runs", str(road.runs), "--json")
    for stage in STAGES:
        kill_in(stage, again if road.killed else first, road)
    done = subprocess.run(again, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    road.output, road.progress = done.stdout, road.progress + done.stderr
    return road


def kill_in(stage: str, words: list[str], road: Road) -> None:
    """Start a command, and kill it with -9 as soon as it says that it is in that stage."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        road.progress += line
        if re.search(rf"\[\d+/\d+\] {stage}:", line):
            break
    if process.poll() is None:
        road.started += psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, (
        f"it ended before {stage}: {road.progress[-3000:]}"
    )
    road.killed.append(stage)


def test_it_was_killed_in_every_stage_and_nothing_outlived_it(road: Road) -> None:
    assert road.killed == list(STAGES)
    # Ray's agents look for their raylet from time to time, and end when it is gone.
    assert wait_until_gone(road.started, timeout_s=150) == []


def test_it_ends_with_the_summary_of_an_unbroken_run(road: Road, root: Path) -> None:
    summary = json.loads(road.paths.summary.read_text())
    assert json.loads(road.output) == summary
    documented = {"experiment", "question", "seed", "trials", "baselines", "best", "champion"}
    documented |= {"decision", "version", "reply", "monitor", "versions", "stages"}
    assert documented <= set(summary)
    assert set(summary["stages"]) == set(STAGES) == set(Command().stages)
    assert summary["version"] == "v0002" and summary["monitor"]["labelled"] == 4
    assert [trial["steps"] for trial in summary["trials"]] == [2]


def test_stages_that_were_whole_were_not_done_again(road: Road) -> None:
    took = re.findall(r"(\w+) took \d+ s", road.progress)
    assert sorted(took) == sorted(STAGES), "each stage ended once"
    assert road.progress.count("whole already") == sum(range(len(STAGES) + 1)) - len(STAGES)


def test_nothing_was_registered_or_counted_twice(road: Road) -> None:
    rows = ask(road, "registry", "list")
    assert [row["name"] for row in rows] == ["v0001", "v0002"]
    assert [row["alias"] for row in rows] == [None, "champion"]
    events = [event["kind"] for event in ask(road, "registry", "log")]
    assert events.count("gated") == 1


def test_what_was_changed_by_hand_is_refused_and_put_back_goes_on(road: Road) -> None:
    file, seal = road.paths.split("test"), road.paths.seal("report")
    whole, sealed = file.read_bytes(), seal.read_bytes()
    file.unlink()  # as an editor does it: the file in the cache is another one then
    file.write_bytes(whole[:-1])
    seal.unlink()
    words = command("resume", "a", "--runs", str(road.runs))
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == DataError.exit_code, done.stderr[-2000:]
    assert "was changed after stage 'notes' was whole" in done.stderr.splitlines()[-1]
    file.write_bytes(whole)
    seal.write_bytes(sealed)


def ask(road: Road, *words: str) -> Any:
    """JSON answer of a command about the registry."""
    options = ["--registry", str(road.runs / "registry"), "--json"]
    done = subprocess.run(command(*words, *options), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@dataclass
class Client:
    """Asks the endpoint again and again until it is told to stop."""

    versions: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    def ask_on(self) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{PORT}", timeout=300) as http:
            while not self.is_over.is_set():
                try:
                    reply = http.post("/v1/diagnoses", json={"note": "CHIEF COMPLAINT: chest pain"})
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    continue
                if reply.is_success:
                    self.versions.append(reply.json()["model_version"])
                else:
                    self.failures.append(reply.text)
                self.is_over.wait(0.5)


@contextmanager
def served(runs: Path) -> Iterator[Client]:
    """`deepicd serve` on the registry, and a client that asks it all the time."""
    words = command("serve", "--registry", str(runs / "registry"))
    with (runs / "serve.log").open("w") as log:
        server = subprocess.Popen(words, stdout=log, stderr=log)
        client = Client()
        try:
            wait_for(is_up, server, log.name)
            thread = threading.Thread(target=client.ask_on)
            thread.start()
            try:
                yield client
            finally:
                client.is_over.set()
                thread.join()
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=120)


def is_up() -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{PORT}/healthz", timeout=5).is_success
    except httpx.HTTPError:
        return False


def wait_for(condition: Any, server: subprocess.Popen[bytes], log: str) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        assert server.poll() is None and time.monotonic() < deadline, Path(log).read_text()[-3000:]
        time.sleep(0.5)


def test_a_running_endpoint_changes_to_the_champion_of_another_run_without_a_failed_request(
    road: Road, experiment: Path
) -> None:
    with served(road.runs) as client:
        words = command("sweep", "run", str(experiment), "--name", "b", "--runs", str(road.runs))
        changes = ["--set", "seed=2", "--set", "sft.is_enabled=false", *TWO_TRIALS]
        done = subprocess.run(
            [*words, *changes, "--json"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "RAY_ADDRESS": ""},
        )
        assert done.returncode == 0, done.stderr[-4000:]
        deadline = time.monotonic() + 300
        while "v0003" not in client.versions[-1:] and time.monotonic() < deadline:
            time.sleep(0.5)
    summary = json.loads(RunPaths(road.runs / "b").summary.read_text())
    assert summary["version"] == "v0003" and summary["decision"]["accepted"]
    assert len(summary["trials"]) == 2
    killed = json.loads(road.paths.summary.read_text())
    assert set(killed) == set(summary), "as a run that nobody killed"
    assert "taken over from" in done.stderr, "the notes are those of the other run"
    assert client.failures == [] and set(client.versions) == {"v0002", "v0003"}
    assert client.versions == sorted(client.versions)
    log = ask(road, "registry", "log")
    gated = [event for event in log if event["kind"] == "gated"]
    assert gated[-1]["details"]["champion"] == "v0002"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 100 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root mounts a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, *, left: int) -> Path:
    """Leave a disk so many bytes; returns the file that takes the others."""
    filler = folder / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(folder).free - left)
    return filler


def test_a_full_disk_is_one_line_with_its_own_exit_code_and_resume_goes_on(
    experiment: Path, small_disk: Path
) -> None:
    words = command("train", str(experiment), "--name", "a", "--no-promote")
    runs = ["--runs", str(small_disk)]
    process = subprocess.Popen([*words, *runs], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "notes:" in line:
            break
    filler = fill(small_disk, left=600_000)  # the notes fit, the model does not
    told = process.stderr.read()
    assert process.wait() == ExhaustedError.exit_code, told[-2000:]
    last = told.splitlines()[-1]
    assert last.startswith("deepicd: disk space ran out") and "`deepicd resume a` goes on" in last
    again = subprocess.run([*words, *runs], capture_output=True, text=True, check=False)
    assert again.returncode == CapacityError.exit_code, again.stderr[-2000:]
    assert "a run's first checkpoint needs" in again.stderr
    assert RunPaths(small_disk / "a").seal("notes").is_file(), "it was not moved aside"
    filler.unlink()
    road = Road(small_disk)
    kill_in("sft", command("resume", "a", *runs), road)  # far enough: the model was built
    assert road.progress.count("whole already") == 2 and "model took" in road.progress
