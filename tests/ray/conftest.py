"""What several tests on a real Ray share: a free port, and a model that is quick to serve."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from deepicd.checkpoints import write_manifest
from deepicd.config import ModelConfig
from deepicd.serving import ServedModel
from deepicd.training.model import build_model


@pytest.fixture(scope="session")
def find_port() -> Callable[[], int]:
    """A function that names a free TCP port."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

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
