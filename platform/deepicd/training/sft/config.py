"""Experiment → configuration of verl's SFT trainer, composed over verl's own defaults."""

from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig

from deepicd.config import Experiment
from deepicd.errors import ConfigError
from deepicd.training.kernels import choose_kernels
from deepicd.training.overrides import set_values
from deepicd.training.verl_settings import BF16, EXTERNAL, FP32, Settings, compose, platform_of

_PROFILES: Mapping[str, Settings] = {
    "cpu": {
        "model.override_config": {"attn_implementation": "sdpa"},
        "model.use_remove_padding": False,
        "model.enable_gradient_checkpointing": False,
        "engine.strategy": "fsdp2",
        "engine.use_torch_compile": False,
        "engine.mixed_precision": FP32,
        "trainer.device": "cpu",
    },
    "gpu": {
        "model.enable_gradient_checkpointing": True,
        "engine.strategy": "fsdp2",
        "engine.mixed_precision": BF16,
        "trainer.device": "cuda",
    },
}


def compose_sft(
    experiment: Experiment, *, model: Path, traces: Path, notes: Path, out: Path
) -> DictConfig:
    """Configuration of the SFT run before GRPO.

    Args:
        experiment: its `sft`, `data`, `training` (GPUs, nodes) and `profile` parts are read.
        model: Hugging Face folder to start from.
        traces: Parquet file with columns `note_id` and `response`.
        notes: Parquet file of the notes they belong to.
        out: folder for the checkpoint of the last step.
    """
    sft = experiment.sft
    num_gpus = experiment.training.world_size
    settings: Settings = _profile(experiment) | {
        "model.path": str(model),
        "model.external_lib": EXTERNAL,
        "data.train_files": str(traces),
        "data.notes_file": str(notes),
        "data.max_prompt_tokens": experiment.data.max_prompt_tokens,
        "data.max_trace_tokens": sft.max_trace_tokens,
        "data.overlong": experiment.data.overlong,
        "data.val_files": None,
        "data.custom_cls.path": "pkg://deepicd.training.sft.dataset",
        "data.custom_cls.name": "TraceDataset",
        "data.train_batch_size": sft.batch_size,
        "data.micro_batch_size_per_gpu": _micro_batch(sft.batch_size, num_gpus, experiment),
        "data.use_dynamic_bsz": False,
        "data.max_length": experiment.data.max_prompt_tokens + sft.max_trace_tokens,
        # `TraceDataset` has left out what is longer.
        "data.truncation": "error",
        "data.num_workers": 0,
        "engine.seed": experiment.seed,
        "optim.lr": sft.learning_rate,
        "optim.lr_scheduler_type": "cosine",
        "optim.lr_warmup_steps": sft.warmup_steps,
        "optim.weight_decay": sft.weight_decay,
        # Nothing goes on from SFT but GRPO, which begins with the export.
        "checkpoint.save_contents": ["hf_model"],
        "checkpoint.load_contents": [],
        "trainer.default_local_dir": str(out),
        "trainer.project_name": "deepicd",
        "trainer.experiment_name": experiment.name,
        "trainer.total_epochs": sft.epochs,
        "trainer.seed": experiment.seed,
        # Reports go to Ray Train (`sft.trainer`).
        "trainer.logger": [],
        # A stage that was interrupted begins again.
        "trainer.resume_mode": "disable",
        "trainer.nnodes": experiment.training.num_nodes,
        "trainer.n_gpus_per_node": experiment.training.num_gpus,
    }
    with platform_of(experiment):
        config = compose("sft_trainer_engine")
        set_values(config, settings)
    return config


def _profile(experiment: Experiment) -> Settings:
    settings = _PROFILES[experiment.profile]
    if experiment.profile == "cpu":
        return settings
    return settings | choose_kernels(experiment.training.attention).settings("model")


def _micro_batch(batch_size: int, num_gpus: int, experiment: Experiment) -> int:
    """Largest divisor of a GPU's share of the batch up to the experiment's micro-batch."""
    share, rest = divmod(batch_size, num_gpus)
    if rest or not share:
        raise ConfigError(
            f"sft.batch_size ({batch_size}) must be a multiple of the number of GPUs ({num_gpus}); "
            "change either"
        )
    limit = min(share, experiment.training.ppo_micro_batch_size_per_gpu)
    return max(size for size in range(1, limit + 1) if share % size == 0)
