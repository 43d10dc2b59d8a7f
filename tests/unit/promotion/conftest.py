"""A registry with two versions."""

import os
from pathlib import Path

import pytest
from registry_models import build_model

from deepicd.promotion.registry import Registry


@pytest.fixture(autouse=True)
def _no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing guards against power cuts, which no test makes; a killed process loses nothing."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    return [build_model(tmp_path / f"model{seed}", seed) for seed in range(3)]


@pytest.fixture
def registry(tmp_path: Path, models: list[Path]) -> Registry:
    """v0001 was champion, v0002 is."""
    registry = Registry(tmp_path / "registry")
    for index, model in enumerate(models[:2], start=1):
        registry.register(model, lineage={"trial": f"t{index}"}, scores={"hierarchical_f1": 0.5})
        registry.promote(f"v000{index}", reason="test")
    return registry
