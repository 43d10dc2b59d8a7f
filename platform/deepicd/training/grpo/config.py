"""Experiment → configuration of a GRPO run; with `training.sft.config` all that knows verl's keys.

In: an `Experiment` and the paths of one run. Out: the configuration that verl 0.9.1 trains from,
checked by verl's own `validate_config`. Decided here:

- Both hardware profiles are composed by the same code from tables below; nothing else in the
project asks which it is.
- Only what we sweep, what decides resources and what wires our classes into verl is mapped. The
  rest of verl's settings keep its defaults and are open to the experiment's `[verl]` table, which
  is applied last: keys that the installed verl lacks, that have another address in the experiment,
  or that would have no effect are refused.
- Reward weights are values in this configuration, never environment variables.
"""

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from omegaconf import DictConfig

from deepicd.config import Experiment, RewardConfig, Scalar
from deepicd.errors import ConfigError, DataError, Fault
from deepicd.paths import rollouts_folder
from deepicd.rewards import JUDGE
from deepicd.training.kernels import choose_kernels
from deepicd.training.overrides import faults_of_overrides, pass_through, set_values
from deepicd.training.verl_settings import BF16, EXTERNAL, FP32, Settings, compose, platform_of

_ACTOR = "actor_rollout_ref.actor"
_REF = "actor_rollout_ref.ref"
_ROLLOUT = "actor_rollout_ref.rollout"
_MODEL = "actor_rollout_ref.model"

MAPPED: Mapping[str, str] = {
    "data.train_batch_size": "training.train_batch_size",
    "data.max_prompt_length": "data.max_prompt_tokens",
    "data.max_response_length": "training.max_response_tokens",
    "data.seed": "seed",
    "algorithm.use_kl_in_reward": "training.use_kl_in_reward",
    "algorithm.kl_ctrl.kl_coef": "training.kl_coef",
    "algorithm.rollout_correction.bypass_mode": "training.bypass_mode",
    f"{_ACTOR}.ppo_mini_batch_size": "training.ppo_mini_batch_size",
    f"{_ACTOR}.ppo_micro_batch_size_per_gpu": "training.ppo_micro_batch_size_per_gpu",
    f"{_ACTOR}.entropy_coeff": "training.entropy_coeff",
    f"{_ACTOR}.use_kl_loss": "training.use_kl_loss",
    f"{_ACTOR}.kl_loss_coef": "training.kl_loss_coef",
    # verl clips by low and high where they are set, and its defaults set them.
    f"{_ACTOR}.clip_ratio": "training.clip_ratio",
    f"{_ACTOR}.clip_ratio_low": "training.clip_ratio",
    f"{_ACTOR}.clip_ratio_high": "training.clip_ratio",
    f"{_ACTOR}.data_loader_seed": "seed",
    f"{_ACTOR}.optim.lr": "training.learning_rate",
    f"{_ACTOR}.optim.lr_warmup_steps": "training.lr_warmup_steps",
    f"{_ACTOR}.fsdp_config.seed": "seed",
    f"{_REF}.log_prob_micro_batch_size_per_gpu": "training.ppo_micro_batch_size_per_gpu",
    f"{_REF}.fsdp_config.seed": "seed",
    f"{_ROLLOUT}.n": "training.rollout_n",
    f"{_ROLLOUT}.temperature": "training.temperature",
    f"{_ROLLOUT}.log_prob_micro_batch_size_per_gpu": "training.ppo_micro_batch_size_per_gpu",
    f"{_ROLLOUT}.seed": "seed",
    "trainer.total_epochs": "training.total_epochs",
    "trainer.total_training_steps": "training.total_steps",
    "trainer.test_freq": "training.validate_every",
    "trainer.save_freq": "training.validate_every",
    "trainer.n_gpus_per_node": "training.num_gpus",
    "trainer.nnodes": "training.num_nodes",
}
"""verl key → the address in the experiment that sets it."""

INEFFECTIVE: Mapping[str, str] = {
    "critic": "GRPO has no critic",
    "data.gen_batch_size": "the sampler is fed whole training batches",
    "data.val_batch_size": "verl ignores it",
    "data.shuffle": "row order is fixed when the notes are built, by the experiment's seed",
    "data.filter_overlong_prompts_workers": "prompts are filtered by Ray Data",
    "reward_model": "verl's old address of `reward.reward_model`",
    "reward_manager": "verl's old address of `reward.reward_manager`",
    "custom_reward_function": "verl's old address of `reward.custom_reward_function`",
    "sandbox_fusion": "no reward runs code",
    "ray_kwargs": "Ray is started before verl",
    "algorithm.filter_groups.max_num_gen_batches": "verl's V1 trainer ignores it",
    f"{_ACTOR}.ppo_micro_batch_size": "deprecated in verl",
    f"{_REF}.log_prob_micro_batch_size": "deprecated in verl",
    f"{_ROLLOUT}.log_prob_micro_batch_size": "deprecated in verl",
}
"""verl key, or the table it begins, → why setting it does nothing in a GRPO run of ours."""

_BOTH: Settings = {
    "algorithm.adv_estimator": "grpo",
    "algorithm.kl_penalty": "kl",
    "critic.enable": False,
    # Rows come from a thread of the trainer's process; a worker process would not have it.
    "data.dataloader_num_workers": 0,
    "data.filter_overlong_prompts": True,
    "data.truncation": "error",
    # The export is written while the actor is there: verl's merger would write bfloat16 later.
    f"{_ACTOR}.checkpoint.save_contents": ["model", "optimizer", "extra", "hf_model"],
    f"{_ACTOR}.checkpoint.load_contents": ["model", "optimizer", "extra"],
    f"{_ROLLOUT}.name": "vllm",
    f"{_ROLLOUT}.tensor_model_parallel_size": 1,
    f"{_ROLLOUT}.top_k": -1,
    f"{_ROLLOUT}.top_p": 1,
    # Greedy, as evaluation answers: trials are not compared by the luck of a draw.
    f"{_ROLLOUT}.val_kwargs.do_sample": False,
    f"{_ROLLOUT}.val_kwargs.temperature": 0,
    f"{_ROLLOUT}.val_kwargs.n": 1,
    "trainer.logger": ["console"],
    "trainer.project_name": "deepicd",
    "trainer.max_actor_ckpt_to_keep": None,  # Ray Train removes old ones
    "trainer.val_before_train": False,
}

_CPU: Settings = {
    f"{_MODEL}.override_config": {"attn_implementation": "sdpa"},
    f"{_MODEL}.use_remove_padding": False,
    f"{_MODEL}.enable_gradient_checkpointing": False,
    # FSDP1 makes the device "cpu:cpu", which torch refuses.
    f"{_ACTOR}.strategy": "fsdp2",
    f"{_ACTOR}.use_torch_compile": False,
    f"{_ACTOR}.fsdp_config.use_torch_compile": False,
    f"{_ACTOR}.fsdp_config.mixed_precision": FP32,
    f"{_REF}.strategy": "fsdp2",
    f"{_REF}.use_torch_compile": False,
    f"{_REF}.fsdp_config.use_torch_compile": False,
    f"{_REF}.fsdp_config.mixed_precision": FP32,
    f"{_ROLLOUT}.dtype": "float32",
    f"{_ROLLOUT}.enable_chunked_prefill": False,  # vLLM 0.29 on CPU: a seeded prompt must be whole
    f"{_ROLLOUT}.enforce_eager": True,
    # vLLM cannot sleep on CPU.
    f"{_ROLLOUT}.free_cache_engine": False,
    f"{_ROLLOUT}.enable_sleep_mode": False,
    # Of the memory; vLLM on CPU heeds it only where the cache has no size of its own.
    f"{_ROLLOUT}.gpu_memory_utilization": 0.1,
    # One process each, here and below: every one imports verl, 14 s of CPU.
    f"{_ROLLOUT}.agent.num_workers": 1,
    f"{_ROLLOUT}.checkpoint_engine.update_weights_bucket_megabytes": 64,
    f"{_ROLLOUT}.engine_kwargs.vllm.kv_cache_memory_bytes": 2**29,
    # vLLM computes in its server's process: one process fewer to start, and faster steps.
    f"{_ROLLOUT}.engine_kwargs.vllm.distributed_executor_backend": "uni",
    "reward.num_workers": 1,
    "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
    "trainer.device": "cpu",
}

_GPU: Settings = {
    f"{_MODEL}.enable_gradient_checkpointing": True,
    # Its checkpoints can be cut for another number of ranks (`checkpoints.reshard`).
    f"{_ACTOR}.strategy": "fsdp2",
    f"{_ACTOR}.use_torch_compile": True,
    f"{_ACTOR}.fsdp_config.use_torch_compile": True,
    f"{_ACTOR}.fsdp_config.param_offload": False,
    f"{_ACTOR}.fsdp_config.optimizer_offload": False,
    f"{_ACTOR}.fsdp_config.mixed_precision": BF16,
    f"{_REF}.strategy": "fsdp2",
    f"{_REF}.fsdp_config.param_offload": False,
    f"{_REF}.fsdp_config.mixed_precision": BF16,
    # It is only read, and lies in the host's memory: half of what float32 takes there.
    f"{_REF}.fsdp_config.model_dtype": "bf16",
    f"{_ROLLOUT}.dtype": "bfloat16",
    f"{_ROLLOUT}.enforce_eager": False,
    f"{_ROLLOUT}.free_cache_engine": True,
    f"{_ROLLOUT}.gpu_memory_utilization": 0.4,
    # verl's default is 8, each an actor that holds a CPU.
    "transfer_queue.backend.SimpleStorage.num_data_storage_units": 2,
    "trainer.device": "cuda",
}

_PROFILES: Mapping[str, Settings] = {"cpu": _CPU, "gpu": _GPU}


def compose_grpo(
    experiment: Experiment,
    *,
    model: Path,
    train: Path,
    validation: Path,
    out: Path,
    resume: Path | None = None,
) -> DictConfig:
    """Configuration of one GRPO run, validated by verl.

    Args:
        experiment: the trial's values.
        model: Hugging Face folder to start from.
        train: Parquet file of training notes; when it exists, steps are limited to its epochs.
        validation: Parquet file of validation notes.
        out: folder for `global_step_N` checkpoints.
        resume: one of these folders to go on from; None starts from `model`.

    Raises:
        ConfigError: a `[verl]` key that verl lacks or that cannot work, or settings verl refuses.
        DataError: fewer training notes than one batch.
    """
    with platform_of(experiment):
        wiring = _grpo_wiring(experiment, model=model, train=train, validation=validation, out=out)
        wiring["trainer.resume_mode"] = "resume_path" if resume else "disable"
        if resume is not None:
            wiring["trainer.resume_from_path"] = str(resume)
        wiring["trainer.total_training_steps"] = _total_steps(experiment, train)
        config = _own_config(experiment, wiring)
        # After ours: it may overrule the profile, but nothing that is refused.
        pass_through(config, experiment.verl, refused=_refused(wiring))
        _validate(config)
    return config


def verl_faults(experiment: Experiment, values: Mapping[str, Scalar]) -> list[Fault]:
    """What the installed verl, or the platform, refuses of dotted verl keys, key by key."""
    words = dict.fromkeys(("model", "train", "validation", "out"), Path("PATH"))
    with platform_of(experiment):
        wiring = _grpo_wiring(experiment, **words)
        config = _own_config(experiment, wiring)
        return list(faults_of_overrides(config, values, refused=_refused(wiring)))


def _own_config(experiment: Experiment, wiring: Settings) -> DictConfig:
    """verl's configuration before the experiment's `[verl]` table is applied."""
    config = compose("ppo_trainer")
    # Later ones win: the profile over what both share, the experiment over its profile.
    set_values(config, _own_settings(experiment) | wiring)
    return config


def setting(experiment: Experiment, key: str, default: Any = None) -> Any:
    """A verl key's value as the experiment or its profile sets it; `default` where verl's stays."""
    return (_own_settings(experiment) | experiment.verl).get(key, default)


def describe_kernels(experiment: Experiment) -> dict[str, str]:
    """What a trial computes attention and log-probabilities with, and why, for its record."""
    if experiment.profile == "cpu":
        return {"attention": "sdpa", "log_probs": "plain", "why": "the CPU profile has no other"}
    return asdict(choose_kernels(experiment.training.attention))


def _own_settings(experiment: Experiment) -> Settings:
    profile = _PROFILES[experiment.profile]
    if experiment.profile == "gpu":
        profile = profile | choose_kernels(experiment.training.attention).settings(_MODEL)
    return _BOTH | profile | _mapped(experiment)


def _reward_function(rewards: RewardConfig) -> Settings:
    """Our reward as verl's custom function; the judged one when the judge weighs something."""
    kwargs: dict[str, Any] = {
        "preset": rewards.preset,
        "weights": dict(rewards.weights),
        "hierarchy_curve": rewards.hierarchy_curve,
    }
    is_judged = bool(rewards.weights.get(JUDGE))
    if is_judged:
        kwargs["judge"] = rewards.judge.model_dump(mode="json")
    return {
        "reward.custom_reward_function.path": "pkg://deepicd.rewards.verl_entry",
        "reward.custom_reward_function.name": f"compute_{'judged_' * is_judged}score",
        "reward.custom_reward_function.reward_kwargs": kwargs,
    }


def _grpo_wiring(
    experiment: Experiment, *, model: Path, train: Path, validation: Path, out: Path
) -> Settings:
    """Settings that hold the platform's own classes and paths; not open to `[verl]`."""
    length = experiment.data.max_prompt_tokens + experiment.training.max_response_tokens
    return {
        f"{_MODEL}.path": str(model),
        f"{_MODEL}.external_lib": EXTERNAL,
        f"{_ROLLOUT}.agent.default_agent_loop": "deepicd_single_turn",
        # The guard holds vLLM's probabilities against the actor's.
        f"{_ROLLOUT}.calculate_log_probs": True,
        f"{_ROLLOUT}.max_model_len": length,
        "data.custom_cls.path": "pkg://deepicd.training.grpo.dataset",
        "data.custom_cls.name": "NotesDataset",
        "data.overlong": experiment.data.overlong,
        "data.curriculum": experiment.data.curriculum,
        # `EpochSampler` orders the rows.
        "data.shuffle": False,
        "data.train_files": str(train),
        "data.val_files": str(validation),
        "data.val_max_samples": experiment.data.num_validation or -1,
        **_reward_function(experiment.rewards),
        "trainer.use_v1": True,
        "trainer.v1.trainer_mode": "deepicd",
        "trainer.experiment_name": experiment.name,
        "trainer.default_local_dir": str(out),
        "trainer.rollout_data_dir": (
            str(rollouts_folder(out)) if experiment.training.keep_rollouts else None
        ),
    }


def _mapped(experiment: Experiment) -> Settings:
    return {key: reduce(getattr, address.split("."), experiment) for key, address in MAPPED.items()}


def _refused(wiring: Settings) -> dict[str, str]:
    """Key or table → why the `[verl]` table may not set it."""
    taken = {key: f"is set by {address}; change that instead" for key, address in MAPPED.items()}
    fixed = dict.fromkeys(wiring, "is decided by the platform; remove it")
    idle = {
        key: f"would have no effect: {reason}. Remove it" for key, reason in INEFFECTIVE.items()
    }
    return idle | fixed | taken


def _total_steps(experiment: Experiment, train: Path) -> int:
    """The earlier of both limits: verl must know the last step to validate and save there."""
    training = experiment.training
    if not train.is_file():
        return training.total_steps
    num_notes: int = pq.read_metadata(train).num_rows
    steps_per_epoch = num_notes // training.train_batch_size
    if steps_per_epoch == 0:
        raise DataError(
            f"{train} holds {num_notes} notes, fewer than training.train_batch_size = "
            f"{training.train_batch_size}. Lower the batch or add notes."
        )
    return min(training.total_steps, steps_per_epoch * training.total_epochs)


def _validate(config: DictConfig) -> None:
    """Run verl's own checks, in our words."""
    from hydra.errors import HydraException
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    try:
        # verl prints that its checks passed; standard output belongs to `--json`.
        with contextlib.redirect_stdout(sys.stderr):
            validate_config(
                config=config,
                use_reference_policy=need_reference_policy(config),
                use_critic=need_critic(config),
            )
    except (AssertionError, ValueError, HydraException) as error:
        cause = error.__cause__ or error  # hydra wraps what a settings class raised
        raise ConfigError(f"verl refuses the configuration: {cause}") from error
