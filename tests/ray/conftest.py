"""What several tests on a real Ray share: a free port, and a model that is quick to serve."""

import contextlib
import socket
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file, save_file

from deepicd.checkpoints import write_manifest
from deepicd.config import ModelConfig
from deepicd.serving import ServedModel
from deepicd.training.start_model import build_model

NUM_LOOKS = 3
"""One look at a busy machine's processes has missed one that was there, twice in CI."""


@pytest.fixture(scope="session")
def find_port() -> Callable[[], int]:
    """A function that names a free TCP port."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find


@pytest.fixture(scope="session")
def find_processes() -> Callable[[str], list[psutil.Process]]:
    """A function that finds what this test has started by a part of its name or command line."""

    def find(name: str) -> list[psutil.Process]:
        found: dict[int, psutil.Process] = {}
        for _ in range(NUM_LOOKS):
            for child in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):  # it has just ended
                    if name in " ".join([child.name(), *child.cmdline()]):
                        found[child.pid] = child
            time.sleep(0.05)
        return [process for process in found.values() if process.is_running()]

    return find


@pytest.fixture(scope="session")
def find_engines(find_processes) -> Callable[[], set[int]]:
    """A function that finds the ids of vLLM's engine processes."""

    def find() -> set[int]:
        parents = {}
        for process in find_processes("EngineCor"):
            with contextlib.suppress(psutil.Error):
                parents[process.pid] = process.ppid()
        # What an engine forks bears its name until it is another program.
        return {pid for pid, parent in parents.items() if parent not in parents}

    return find


@pytest.fixture(scope="session")
def build_served() -> Callable[..., ServedModel]:
    """A function that builds a tiny model with varied answers, ready to serve."""

    def build(folder: Path, texts: list[str], *, seed: int) -> ServedModel:
        config = ModelConfig(vocab_size=400, hidden_size=64, num_layers=2, num_heads=2)
        build_model(config, texts, folder, seed=seed)
        weights = load_file(folder / "model.safetensors")
        wider = {name: w * 12 if w.dim() == 2 else w for name, w in weights.items()}
        save_file(wider, folder / "model.safetensors", {"format": "pt"})
        write_manifest(folder)
        return ServedModel(path=folder, version=f"version-{seed}")

    return build
