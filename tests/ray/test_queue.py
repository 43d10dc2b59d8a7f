"""Two verl runs in one cluster have a TransferQueue each; and the patch is known to expire."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepicd.training.verl_plugin.patches.transfer_queue import QUEUE_VARIABLE

RUN = """
import sys
import ray, verl
ray.init(address=sys.argv[1], namespace=sys.argv[2], logging_level="error")
import transfer_queue as tq
from deepicd.training.verl_plugin.patches.transfer_queue import check_queue
tq.init()
check_queue()
tq.kv_put(key=sys.argv[2], partition_id="train", tag={"run": sys.argv[2]})
print("mine", sorted(tq.kv_list()["train"]), flush=True)
sys.stdin.read()
"""


def start(address: str, namespace: str, *, is_scoped: bool = True) -> subprocess.Popen[str]:
    env = {**os.environ, QUEUE_VARIABLE: namespace} if is_scoped else dict(os.environ)
    return subprocess.Popen(
        [sys.executable, "-c", RUN, address, namespace],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
    )


def until_known(run: subprocess.Popen[str]) -> str:
    """The run's own line, or all that it printed if there is none."""
    assert run.stdout is not None
    lines = []
    for line in run.stdout:
        if line.startswith("mine"):
            return line
        lines.append(line)
    return "".join(lines)


def test_each_run_of_a_cluster_has_its_own_queue(tmp_path: Path) -> None:
    import ray

    from deepicd.clusters.ray_session import ray_session

    runs: list[subprocess.Popen[str]] = []
    with ray_session(token_file=tmp_path / "token", num_cpus=8):
        address = ray.get_runtime_context().gcs_address
        try:
            runs += [start(address, name) for name in ("first", "second")]
            assert [until_known(run).split(None, 1)[1].strip() for run in runs] == [
                "['first']",
                "['second']",
            ]
        finally:
            for run in runs:
                run.kill()
                run.wait()


def test_upstream_still_has_one_queue_for_a_cluster() -> None:
    """Fails when upstream takes a namespace: patches/transfer_queue.py can go then."""
    from transfer_queue import interface

    assert inspect.getsource(interface).count('namespace="transfer_queue"') == 2
    assert "namespace" not in inspect.signature(interface.init).parameters


def test_another_version_of_transfer_queue_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from deepicd import upstream
    from deepicd.errors import UpstreamError
    from deepicd.training.verl_plugin.patches import transfer_queue

    monkeypatch.setattr(upstream, "version", lambda name: "0.2.0")
    upstream.require_version.cache_clear()
    monkeypatch.setenv(QUEUE_VARIABLE, "mine")
    with pytest.raises(
        UpstreamError, match=r"written for TransferQueue 0\.1\.11; installed is 0\.2"
    ):
        transfer_queue.apply()
