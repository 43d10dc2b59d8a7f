"""Trials of two sweeps that each want the whole cluster get it one after the other, never half."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

RUN = """
import json, sys, time
import ray
from verl.single_controller.ray.base import ResourcePoolManager
from deepicd.training.process.placement import WholePlacement
address, sweep, gpus, timeout_s = sys.argv[1:]
ray.init(address=address, namespace=sweep, logging_level="error")

class Said(list):
    def append(self, line):
        print(json.dumps({"waits": line}), flush=True)
        super().append(line)

said = Said()
plain = ResourcePoolManager(resource_pool_spec={"pool": json.loads(gpus)}, mapping={})
pools = WholePlacement(plain, sweep=sweep, timeout_s=float(timeout_s), on_stage=said.append)
try:
    pools.create_resource_pool()
except Exception as error:
    print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
    sys.exit()
print(json.dumps({"got": time.time()}), flush=True)
sys.stdin.readline()
print(json.dumps({"gave": time.time(), "said": said}))
"""
PATIENCE_S = 300
WAITS = "waiting for 2 node(s) with 1 free GPUs each"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster with two logical GPUs."""
    import ray

    from deepicd.clusters.ray_session import ray_session

    token = tmp_path_factory.mktemp("cluster") / "token"
    with ray_session(token_file=token, num_cpus=16, num_gpus=2):
        yield ray.get_runtime_context().gcs_address


class Run:
    """A run, by its GPUs on each of its nodes; verl makes a placement group for each entry. It
    holds what it got until it is told to leave.
    """

    def __init__(
        self, address: str, sweep: str, *, gpus: str, timeout_s: int = 2 * PATIENCE_S
    ) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, address, sweep, gpus, str(timeout_s)],
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    @property
    def facts(self) -> dict[str, Any]:
        """What it has printed so far."""
        rows = [json.loads(line) for line in list(self.lines) if line.startswith("{")]
        return {key: value for row in rows for key, value in row.items()}

    def end(self) -> dict[str, Any]:
        """Tell it to leave; what it has printed."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(timeout=PATIENCE_S) == 0, "".join(self.lines)
        self._reader.join()
        return self.facts


def wait_until(is_so: Callable[[], bool], runs: Sequence[Run]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        has_ended = any(run.process.poll() is not None for run in runs)
        assert not has_ended and time.monotonic() < deadline, [run.lines for run in runs]
        time.sleep(0.1)


def test_two_runs_that_each_fill_the_cluster_have_it_one_after_the_other(address: str) -> None:
    runs = [Run(address, sweep, gpus="[1, 1]") for sweep in ("first", "second")]
    wait_until(lambda: any(WAITS in line for run in runs for line in run.lines), runs)
    runs.sort(key=lambda run: "waits" in run.facts)
    assert ["got" in run.facts for run in runs] == [True, False]
    first = runs[0].end()
    wait_until(lambda: "got" in runs[1].facts, runs[1:])
    second = runs[1].end()
    assert first["said"] == [] and first["gave"] <= second["got"]
    assert any(WAITS in line for line in second["said"])


def test_a_run_that_is_not_placed_in_time_says_what_it_needs(address: str) -> None:
    found = Run(address, "large", gpus="[3]", timeout_s=5).end()
    assert "CapacityError: no placement within sweep.placement_timeout_s = 5 s" in found["error"]
    assert "1 node(s) with 3 free GPUs each" in found["error"]


def test_an_error_while_groups_are_made_is_not_lost() -> None:
    from verl.single_controller.ray.base import ResourcePoolManager

    from deepicd.training.process.placement import WholePlacement

    class Broken:
        """A pool whose groups cannot be made."""

        store = (1,)

        def get_placement_groups(self) -> None:
            raise RuntimeError("no such bundle")

    plain = ResourcePoolManager(resource_pool_spec={}, mapping={})
    placement = WholePlacement(plain, sweep="any", timeout_s=1.0, on_stage=print)
    with pytest.raises(RuntimeError, match="no such bundle"):
        placement._reserve(Broken(), time.monotonic() + 1)
