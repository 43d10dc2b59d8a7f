"""The one patch to verl: needed, effective, and known to expire."""

import os
import subprocess
import sys

import pytest

JOIN = """
import verl.utils.distributed as distributed
distributed.initialize_global_process_group{suffix}()
import torch.distributed
print("joined", torch.distributed.get_backend())
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


@pytest.mark.parametrize("suffix", ["", "_ray"])
def test_verl_alone_still_asks_for_the_same_device_twice(suffix):
    """Fails when upstream is fixed: training/verl_plugin/patches/process_group.py can go then."""
    code = REGISTER_PLATFORM_ALONE + JOIN.format(suffix=suffix)
    done = run(code, VERL_USE_EXTERNAL_PLUGINS="none")
    assert done.returncode != 0
    assert "Duplicate device type cpu" in done.stderr


@pytest.mark.parametrize("suffix", ["", "_ray"])
def test_the_plugin_lets_a_process_join_its_group(suffix):
    done = run("import verl\n" + JOIN.format(suffix=suffix))
    assert done.returncode == 0, done.stderr[-2000:]
    assert "joined gloo" in done.stdout or "joined cpu:gloo" in done.stdout


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
    from deepicd.errors import TrainingError
    from deepicd.training.verl_plugin.patches import process_group

    monkeypatch.setattr(process_group, "version", lambda name: "0.10.0")
    with pytest.raises(TrainingError, match=r"written for verl 0\.9\.1; installed is 0\.10\.0"):
        process_group.apply()
