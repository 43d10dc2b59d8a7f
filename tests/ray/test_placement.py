"""Trials of two sweeps that each want the whole cluster get it one after the other, never half."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

RUN = """
import json, sys, time
import ray
from verl.single_controller.ray.base import ResourcePoolManager
from deepicd.training.process.placement import WholePlacement
address, sweep, gpus, timeout_s = sys.argv[1:]
ray.init(address=address, namespace=sweep, logging_level="error")
said = []
plain = ResourcePoolManager(resource_pool_spec={"pool": json.loads(gpus)}, mapping={})
room = WholePlacement(plain, sweep=sweep, timeout_s=float(timeout_s), say=said.append)
try:
    room.create_resource_pool()
except Exception as error:
    print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
    sys.exit()
got = time.time()
time.sleep(12)
print(json.dumps({"got": got, "gave": time.time(), "said": said}))
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster with two logical GPUs."""
    import ray

    from deepicd.clusters.ray_session import ray_session

    token = tmp_path_factory.mktemp("cluster") / "token"
    with ray_session(token_file=token, num_cpus=16, num_gpus=2):
        yield ray.get_runtime_context().gcs_address


def start(address: str, sweep: str, *, gpus: str, timeout_s: int = 100) -> subprocess.Popen[str]:
    """A run, by its GPUs on each of its nodes; verl makes a placement group for each entry."""
    command = [sys.executable, "-c", RUN, address, sweep, gpus, str(timeout_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def outcome(run: subprocess.Popen[str]) -> dict[str, Any]:
    """What a run printed when it ended."""
    output, problems = run.communicate(timeout=200)
    assert run.returncode == 0, problems[-2000:]
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def test_two_runs_that_each_fill_the_cluster_have_it_one_after_the_other(address: str) -> None:
    runs = [start(address, sweep, gpus="[1, 1]") for sweep in ("first", "second")]
    first, second = sorted((outcome(run) for run in runs), key=lambda found: found["got"])
    assert first["said"] == [] and first["gave"] <= second["got"]
    assert any("waiting for 2 node(s) with 1 free GPUs each" in line for line in second["said"])


def test_a_run_that_finds_no_room_in_time_says_what_it_needs(address: str) -> None:
    found = outcome(start(address, "large", gpus="[3]", timeout_s=5))
    assert "CapacityError: no room within sweep.room_timeout_s = 5 s" in found["error"]
    assert "1 node(s) with 3 free GPUs each" in found["error"]
