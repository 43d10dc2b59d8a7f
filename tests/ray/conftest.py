"""What tests on a real Ray share: a small cluster, a free port, a model that is quick to serve.

A process can be in one Ray cluster at a time. Modules that need no more than a few CPU slots share
`light_ray`; they follow one another, and the cluster ends before the next module, which starts its
own. The order of the modules is decided here: what is cheap first, so that a failure shows early.
"""

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

ORDER = (
    *("verl_config", "upstream", "cpu_patch", "reshard", "weight_reload", "judge"),  # no cluster
    *("notes", "tokens", "evaluation", "sft", "dataset"),  # the shared one
    *("storage", "bench_sweep", "queue", "placement", "tune_loop", "repeats"),  # no verl, no vLLM
    *("serving_command", "serving_declared", "serving", "serving_in_place", "serving_changes"),
    *("sweep", "warm", "node_loss"),  # whole sweeps
)
NUM_CPUS = 3
NUM_LOOKS = 3
"""One look at a busy machine's processes has missed one that was there, twice in CI."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """By `ORDER`; a module that is not in it comes first."""
    ranks = {f"test_{name}.py": rank for rank, name in enumerate(ORDER)}
    items.sort(key=lambda item: ranks.get(item.path.name, -1))


@pytest.fixture(scope="module")
def light_ray() -> str:
    """Address of a Ray with a few CPU slots, which the modules that use it share."""
    import ray

    if not ray.is_initialized():
        options = {"include_dashboard": False, "log_to_driver": False, "logging_level": "warning"}
        ray.init(address="local", num_cpus=NUM_CPUS, **options)
    return ray.get_runtime_context().gcs_address


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End the shared Ray after the last module that uses it."""
    is_last = nextitem is None or not uses_light_ray(nextitem)
    if uses_light_ray(item) and is_last:
        import ray

        ray.shutdown()


def uses_light_ray(item: pytest.Item) -> bool:
    """Whether the module says so: a test between two others may do without."""
    return bool(getattr(item.getparent(pytest.Module).obj, "USES_LIGHT_RAY", False))


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
