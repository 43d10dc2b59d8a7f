"""What tests on a real Ray share: a small cluster, a free port, a model that is quick to serve.

A process can be in one Ray cluster at a time. Modules that need no more than a few CPU slots share
`light_ray`; they follow one another, and the cluster ends before the next module, which starts its
own. The order of the modules is decided here: what is cheap first, so that a failure shows early.
"""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from safetensors.torch import load_file, save_file

from deepicd.checkpoints import write_manifest
from deepicd.config import Experiment, ModelConfig, parse_experiment
from deepicd.paths import RunPaths
from deepicd.serving import ServedModel
from deepicd.training.start_model import build_model

if TYPE_CHECKING:
    from deepicd.sweeps.results.decision import SweepResult

ORDER = (
    *("verl_config", "upstream", "cpu_patch", "reshard", "weight_reload", "judge"),  # no cluster
    *("notes", "tokens", "evaluation", "sft", "dataset"),  # the shared one
    *("storage", "bench_sweep", "queue", "placement", "tune_loop", "repeats"),  # no verl, no vLLM
    *("serving_command", "serving_declared", "serving", "serving_in_place", "serving_changes"),
    *("node_loss", "sweep", "engine_reuse"),  # whole sweeps
)
NUM_CPUS = 3
SMALL: dict[str, Any] = {
    "name": "small",
    "data": {"num_notes": 400, "max_prompt_tokens": 300, "num_validation": 16, "num_codes": 12},
    "model": {"vocab_size": 600, "hidden_size": 64, "num_layers": 2, "num_heads": 2},
    "training": {
        "train_batch_size": 8,
        "ppo_mini_batch_size": 8,
        "ppo_micro_batch_size_per_gpu": 8,
        "rollout_n": 2,
        "max_response_tokens": 24,
        "entropy_coeff": 0.01,  # random weights earn no reward, and learn all the same
        "total_steps": 3,
    },
}
"""What the sweeps that share verl's processes have in common: vLLM's engine is built from it."""
NUM_LOOKS = 6
"""Looks at a busy machine's processes have missed one that was there; three in a row did once."""


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


class SharedRunner:
    """Ray, notes, an untrained model, and one runner whose verl serves several sweeps.

    A start of verl is most of a minute on an idle machine. A sweep ends its runners; those here are
    ended by `close`, and until then a sweep does not wait for what verl holds.
    """

    def __init__(self, root: Path) -> None:
        from deepicd.notes.build import build_notes
        from deepicd.notes.split_files import read_split
        from deepicd.training.process.pool import open_runners
        from deepicd.training.process.protocol import TrialInput
        from deepicd.training.start_model import build_model

        self.paths = RunPaths(root)
        experiment = self.experiment({})
        build_notes(experiment.data, tables=self.paths.tables, out=self.paths.notes)
        texts = [note.text for note in read_split(self.paths.split("train"))]
        build_model(experiment.model, texts, self.paths.model, seed=1)
        splits = (self.paths.split(name) for name in ("train", "validation"))
        self.given = TrialInput(self.paths.model, *splits)
        self._runners = open_runners(1)

    @staticmethod
    def experiment(training: dict[str, Any], **tables: Any) -> Experiment:
        """What is common, with values of its own."""
        table = {**SMALL, "training": SMALL["training"] | training, **tables}
        return parse_experiment(table, "here")

    def run_sweep(self, experiment: Experiment, *, storage: Path, **options: Any) -> "SweepResult":
        """A sweep in the processes of the one before."""
        from deepicd.sweeps import run as sweeps

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sweeps, "open_runners", lambda number: self._runners)
            patch.setattr(sweeps, "close_runners", lambda runners: None)
            patch.setattr(sweeps, "wait_until_free", lambda *_, **__: [])
            return sweeps.run_sweep(experiment, self.given, storage=storage, **options)

    def close(self) -> None:
        """End verl; a second call changes nothing."""
        from deepicd.training.process.pool import close_runners

        close_runners(self._runners)
        self._runners = []


@pytest.fixture(scope="session")
def shared_runner(
    tmp_path_factory: pytest.TempPathFactory, shared_memory: Any
) -> Iterator[SharedRunner]:
    """One Ray and one runner for the modules whose sweeps can share them."""
    from deepicd.clusters.ray_session import run_session

    root = tmp_path_factory.mktemp("sweeps")
    with run_session(SharedRunner.experiment({}), root):
        runner = SharedRunner(root)
        yield runner
        runner.close()


@pytest.fixture(scope="session")
def twins(shared_runner: SharedRunner) -> list[dict[str, Any]]:
    """Seed, history, last checkpoint and error of four trials with seeds 7, 8, 7, 8 and else equal
    values. The first is the one that starts verl.
    """
    from deepicd.sweeps.results.trials import read_histories

    experiment = shared_runner.experiment(
        {"ppo_mini_batch_size": 4, "rollout_n": 4, "temperature": 1.0, "validate_every": 3},
        seed=7,
        rewards={"preset": "default"},
        sweep={
            "num_trials": 2,
            "num_seeds": 2,
            "scheduler": "none",
            "search": {"training.learning_rate": {"type": "choice", "values": [1e-3]}},
        },
    )
    storage = shared_runner.paths.root / "twins"
    trials = shared_runner.run_sweep(experiment, storage=storage).trials
    histories = read_histories(storage / "tune")
    return [
        {
            "seed": trial.params["seed"],
            "history": histories[trial.id],
            "checkpoint": trial.checkpoint,
            "error": trial.error,
        }
        for trial in trials
    ]


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
            time.sleep(0.1)
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
