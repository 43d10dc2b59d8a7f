"""Supervised fine-tuning before GRPO: verl's SFT trainer, run by Ray Train.

In: a Hugging Face model, traces and the notes they belong to. Out: the SFT start, a Hugging Face
folder with manifest that transformers and vLLM load. One Ray Train worker per GPU (per logical slot
on the CPU profile) joins the process group that Ray Train makes; the same code runs on a cluster,
which differs by configuration alone.
"""

import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from ray.train import Result, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from deepicd import checkpoints
from deepicd.config import Experiment
from deepicd.errors import MissingError, TrainingError
from deepicd.training.checkpoints.retention import state_dtype
from deepicd.training.sft.config import compose_sft
from deepicd.training.verl_settings import worker_env

# What verl's SFT trainer would have made; on CPU without its twofold "cpu", which torch refuses.
_GROUP_BACKENDS = {"cpu": "gloo", "gpu": "cpu:gloo,cuda:nccl"}


@dataclass(frozen=True)
class SFTRun:
    """What SFT left."""

    path: Path
    """Hugging Face folder."""
    num_traces: int
    """Traces that fitted into the token limits."""
    num_steps: int
    """Optimiser steps."""
    losses: tuple[float, ...]
    """Mean negative log-likelihood per answer token, over ten equal parts of the run."""


def train_sft(
    experiment: Experiment, *, model: Path, traces: Path, notes: Path, out: Path
) -> SFTRun:
    """Fine-tune `model` on `traces` and write the result to `out` (replaced if it is there).

    Blocks. Ray must be running; takes one CPU per worker, and a GPU on the GPU profile.

    Args:
        experiment: `sft`, `data`, `training.num_gpus`, `training.num_nodes`, `profile` and `seed`
            are read.
        model: Hugging Face folder.
        traces: Parquet file with `note_id` and `response`.
        notes: Parquet file of the training split.
        out: folder to write, on storage that every node sees.

    Raises:
        MissingError: an input does not exist.
        TrainingError: the run failed.
    """
    for path in (model, traces, notes):
        if not path.exists():
            raise MissingError(f"SFT needs {path}, which does not exist. Run the stage before it.")
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside `out`, which every node sees; the machine's temporary folder is its own.
    storage = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent.resolve()))
    try:
        config = compose_sft(
            experiment, model=model, traces=traces, notes=notes, out=storage / "verl"
        )
        result = _fit(experiment, OmegaConf.to_container(config, resolve=True), storage)
        return _export(result, experiment, out)
    finally:
        shutil.rmtree(storage, ignore_errors=True)


def _fit(experiment: Experiment, config: Any, storage: Path) -> Result:
    is_gpu = experiment.profile == "gpu"
    trainer = TorchTrainer(
        train_on_worker,
        train_loop_config={"config": config},
        torch_config=TorchConfig(backend=_GROUP_BACKENDS[experiment.profile]),
        scaling_config=ScalingConfig(
            num_workers=experiment.training.world_size,
            use_gpu=is_gpu,
        ),
        run_config=RunConfig(
            name="sft",
            storage_path=str(storage),
            worker_runtime_env={"env_vars": worker_env(experiment)},
        ),
    )
    try:
        return _beside_main_thread(trainer.fit)
    except Exception as error:
        raise TrainingError(f"SFT failed: {error}") from error


def _beside_main_thread(work: Callable[[], Result]) -> Result:
    """Run `work` in another thread and wait for it; Ctrl-C interrupts the waiting.

    Called in the main thread, Ray Train would take over SIGINT for the rest of the process and
    Ctrl-C would do nothing after SFT (`DataParallelTrainer._register_sigint_handler`, Ray 2.60).
    """
    outcome: Future[Result] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            # All of them: without an outcome the caller would wait for ever.
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True, name="ray-train").start()
    return outcome.result()


def train_on_worker(loop: Mapping[str, Any]) -> None:
    """Body of a Ray Train worker."""
    from deepicd.training.sft.trainer import run_sft

    run_sft(OmegaConf.create(loop["config"]))


def _export(result: Result, experiment: Experiment, out: Path) -> SFTRun:
    if result.checkpoint is None or result.metrics is None:
        raise TrainingError("SFT ended without a model; see the log of the Ray Train worker")
    with result.checkpoint.as_directory() as folder:
        # A copy, since the folder is Ray Train's checkpoint, and `state_dtype` writes into it.
        copy = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        try:
            checkpoints.copy_files(Path(folder), copy)
            state_dtype(copy)
            checkpoints.export(copy, out, facts={"stage": "sft", "seed": experiment.seed})
        finally:
            shutil.rmtree(copy, ignore_errors=True)
    return SFTRun(
        path=out,
        num_traces=int(result.metrics["num_traces"]),
        num_steps=int(result.metrics["step"]),
        losses=tuple(result.metrics["losses"]),
    )
