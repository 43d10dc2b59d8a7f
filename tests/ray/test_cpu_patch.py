"""The one patch to verl: needed, effective, and known to expire."""

import os
import subprocess
import sys

import pytest

SUFFIXES = ("", "_ray")
JOIN = f"""
import torch.distributed
import verl.utils.distributed as distributed
for suffix in {SUFFIXES}:
    try:
        getattr(distributed, f"initialize_global_process_group{{suffix}}")()
        print(f"{{suffix}}: joined", torch.distributed.get_backend())
        torch.distributed.destroy_process_group()
    except Exception as error:
        print(f"{{suffix}}: {{error}}")
"""
REGISTER_PLATFORM_ALONE = """
import verl
from deepicd.training.verl_plugin.cpu import platform
platform.register()
"""


def run(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    alone = {
        "VERL_PLATFORM": "cpu",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "0",
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env={**os.environ, **alone, **env},
        capture_output=True,
        text=True,
        timeout=300,
    )


def lines_of(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What became of each of verl's two ways into a process group."""
    assert done.returncode == 0, done.stderr[-2000:]
    rows = (line.partition(": ") for line in done.stdout.splitlines())
    return {suffix: said for suffix, colon, said in rows if colon and suffix in SUFFIXES}


def test_verl_alone_still_asks_for_the_same_device_twice():
    """Fails when upstream is fixed: training/verl_plugin/patches/process_group.py can go then."""
    said = lines_of(run(REGISTER_PLATFORM_ALONE + JOIN, VERL_USE_EXTERNAL_PLUGINS="none"))
    assert set(said) == set(SUFFIXES)
    assert all("Duplicate device type cpu" in line for line in said.values())


def test_the_plugin_lets_a_process_join_its_group():
    said = lines_of(run("import verl\n" + JOIN))
    assert set(said) == set(SUFFIXES)
    assert all(line in {"joined gloo", "joined cpu:gloo"} for line in said.values()), said


def test_the_plugin_does_nothing_on_another_platform():
    code = (
        "import verl, sys\n"
        "from verl.plugin.platform import PlatformRegistry\n"
        "assert 'cpu' not in PlatformRegistry.registered_names()\n"
        "assert 'deepicd.training.verl_plugin.patches.process_group' not in sys.modules\n"
    )
    done = run(code, VERL_PLATFORM="cuda")
    assert done.returncode == 0, done.stderr[-2000:]


def test_another_version_of_verl_is_refused(monkeypatch):
    from deepicd import upstream
    from deepicd.errors import UpstreamError
    from deepicd.training.verl_plugin.patches import process_group

    monkeypatch.setattr(upstream, "version", lambda name: "0.10.0")
    upstream.require_version.cache_clear()
    with pytest.raises(UpstreamError, match=r"written for verl 0\.9\.1; installed is 0\.10\.0"):
        process_group.apply()
