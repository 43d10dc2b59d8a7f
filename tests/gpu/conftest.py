"""What the checks of a GPU share: a skip where there is none, and the table at the end.

`DEEPICD_GPU_CHECK=cpu` rehearses on the CPU profile what needs no GPU, by the same code.
"""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from invented_model import write_untied_model

_ROWS: list[tuple[str, str]] = []
IS_REHEARSAL = os.environ.get("DEEPICD_GPU_CHECK") == "cpu"


def has_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip all without CUDA; in a rehearsal only what is marked as needing a GPU."""
    if has_cuda() and not IS_REHEARSAL:
        return
    for item in items:
        if not IS_REHEARSAL or "memory_by_micro_batch" in item.name:
            item.add_marker(pytest.mark.skip(reason="no CUDA device: nothing was checked"))


@pytest.fixture(scope="session")
def profile() -> str:
    return "cpu" if IS_REHEARSAL else "gpu"


@pytest.fixture(scope="session")
def row() -> Callable[[str, object], None]:
    """Adds a row to the table."""
    return lambda name, value: _ROWS.append((name, str(value)))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights; wide enough for every attention kernel of a GPU."""
    folder = tmp_path_factory.mktemp("model")
    return write_untied_model(folder, hidden_size=64 if IS_REHEARSAL else 256)


def _machine() -> Iterator[tuple[str, str]]:
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    asked = subprocess.run(query, capture_output=True, text=True, check=False)
    yield "GPU, driver, memory", "; ".join(asked.stdout.strip().splitlines()) or "unknown"
    yield "Python", platform.python_version()
    for name in ("torch", "vllm", "verl", "ray", "transformers", "flash-attn"):
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield name, "not installed"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table, in the form that an issue takes."""
    if not _ROWS and not has_cuda():
        terminalreporter.write_line("gpu-check: no CUDA device, so nothing was checked here.")
        return
    failed = len(terminalreporter.stats.get("failed", []))
    verdict = "rehearsed on CPU" if IS_REHEARSAL else f"{failed} checks failed"
    terminalreporter.write_line(f"\ngpu-check: {verdict}; paste this into an issue:\n")
    machine = [] if IS_REHEARSAL else [*_machine()]
    for name, value in [("what", "found"), ("---", "---"), *machine, *_ROWS]:
        terminalreporter.write_line(f"| {name} | {value} |")
