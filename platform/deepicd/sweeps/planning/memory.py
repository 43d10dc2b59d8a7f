"""How much memory of a GPU a trial takes: an estimate from below, by these formulas.

With P parameters, G GPUs of a trial, T tokens of a micro-batch (T = sequences x longest prompt and
answer, or verl's dynamic budget, over the sequence-parallel size):

    weights      4 P / G           float32, sharded by FSDP
    gradients    4 P / G           none of it with LoRA, nor of the optimiser
    optimiser    8 P / G           AdamW's two moments
    reference    4 P / G           with a KL term; 0 on the GPU profile, where FSDP keeps it on the
                                   host in bfloat16: 2 P in all, `host_reference`
    logits       4 x T x vocabulary x 2 (bfloat16; 4 on the CPU profile): the loss and its gradient
                                   hold several of them; with fused kernels, as the GPU profile has
                                   them, 3 x 512 x vocabulary x 4: a chunk of tokens at a time
    activations  T x width x layers x 2, what gradient checkpointing keeps; 0 when offloaded
    engine       gpu_memory_utilization of the GPU: vLLM's weights (2 P / tensor parallel size)
    kv_cache     and its cache, the rest of that share; on the CPU profile a setting of its own

    update  = weights + gradients + optimiser + reference + logits + activations
    rollout = weights + optimiser (unless offloaded) + engine

Where a sweep searches lengths or micro-batches, the greatest count. Fragmentation,
CUDA contexts and buffers come on top, so what fits here can still fail; what does not cannot work.
Source of the terms: verl 0.9.1's FSDP engine (float32 parameters) and vLLM's memory profile.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepicd.config import MLP_RATIO, Experiment
from deepicd.errors import CapacityError
from deepicd.training.checkpoints.disk_space import BYTES_PER_PARAMETER, RESERVE_BYTES
from deepicd.training.grpo.config import setting
from deepicd.training.grpo.effects import possible

_BYTES_LOGIT = {"cpu": 4, "gpu": 2}
_LOGITS_HELD = 4
"""Tensors of that size at a time, at least: read in verl's losses."""
_CHUNK_BYTES = 3 * 512 * 4
"""Of each word of the vocabulary in `FusedLinearForPPO`: 512 tokens, three tensors of float32."""
_GB = 1e9
_GIB = 2**30
_ROLLOUT = "actor_rollout_ref.rollout"
_ACTOR = "actor_rollout_ref.actor"
_MODEL = "actor_rollout_ref.model"


@dataclass(frozen=True)
class _Model:
    """Sizes of a Qwen2 or Llama model; 0 where `config.json` does not say."""

    parameters: int
    vocabulary: int
    width: int
    layers: int


def _model_sizes(experiment: Experiment) -> _Model:
    """Sizes of the model that an experiment names, or of the one that it builds."""
    config = _read_config(experiment.model.path) or _built_config(experiment)
    return _Model(
        parameters=count_parameters(config),
        vocabulary=int(config.get("vocab_size", 0)),
        width=int(config.get("hidden_size", 0)),
        layers=int(config.get("num_hidden_layers", 0)),
    )


def bytes_of_checkpoint(experiment: Experiment) -> int:
    """Free bytes that a trial asks for before its first checkpoint, the reserve included."""
    parameters = _model_sizes(experiment).parameters
    return RESERVE_BYTES + BYTES_PER_PARAMETER * parameters


def estimate_disk(experiment: Experiment, at_once: int) -> dict[str, float]:
    """Bytes (in 1e9) of checkpoints: of one, of a trial when it is over, and of the sweep at its
    fullest, when every trial that runs writes one more; empty where the model's sizes are unknown.
    """
    checkpoint = BYTES_PER_PARAMETER * _model_sizes(experiment).parameters
    if not checkpoint:
        return {}
    # As `checkpoints.retention` keeps them: the best and the last, and never fewer than two.
    trial = max(2, experiment.sweep.keep_top + 1) * checkpoint
    sweep = experiment.sweep.total_trials * trial + at_once * checkpoint
    sizes = {"checkpoint": checkpoint, "trial": trial, "sweep": sweep}
    return {name: round(size / _GB, 5) for name, size in sizes.items()}


def count_parameters(model: Mapping[str, Any]) -> int:
    """Parameters of a Qwen2 or Llama model from its `config.json`; 0 when a size is missing."""
    try:
        hidden, layers, wide = (
            int(model[name]) for name in ("hidden_size", "num_hidden_layers", "intermediate_size")
        )
        heads, vocabulary = int(model["num_attention_heads"]), int(model["vocab_size"])
    except KeyError:
        return 0
    # Grouped-query attention: keys and values have fewer heads than queries.
    groups = int(model.get("num_key_value_heads") or heads)
    # q and o, then k and v by their groups; Qwen2's biases are too small to count.
    attention = 2 * hidden * hidden + 2 * hidden * (hidden // heads) * groups
    tables = 1 if model.get("tie_word_embeddings") else 2
    return layers * (attention + 3 * hidden * wide + 2 * hidden) + tables * vocabulary * hidden


def _read_config(model: Path | None) -> dict[str, Any]:
    path = model / "config.json" if model is not None else None
    if path is None or not path.is_file():
        return {}
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return config


def _built_config(experiment: Experiment) -> dict[str, Any]:
    model = experiment.model
    if model.path is not None:
        return {}
    return {
        "hidden_size": model.hidden_size,
        "num_hidden_layers": model.num_layers,
        "intermediate_size": MLP_RATIO * model.hidden_size,
        "num_attention_heads": model.num_heads,
        "vocab_size": model.vocab_size,
        "tie_word_embeddings": True,
    }


def estimate_memory(experiment: Experiment, gpu_memory_gib: float = 0.0) -> dict[str, float]:
    """Bytes (in 1e9) per GPU, by the formulas above; empty where the model's sizes are not known.

    Args:
        experiment: settings that `sweeps.search.validation.validate` accepts.
        gpu_memory_gib: memory of one GPU in GiB; 0: unknown, then the engine's share is too.
    """
    if not _model_sizes(experiment).parameters:
        return {}
    sizes = _trained(experiment)
    # Before the engine's sizes come in: an update does not hold them.
    sizes["update"] = sum(sizes.values())
    if experiment.profile == "gpu" and _has_reference(experiment):
        sizes["host_reference"] = 2.0 * _model_sizes(experiment).parameters
    engine = _engine(experiment, gpu_memory_gib)
    if engine:
        cache = engine - (_engine_weights(experiment) if experiment.profile == "gpu" else 0.0)
        sizes |= {"engine": engine, "kv_cache": cache, "rollout": _kept(experiment, sizes) + engine}
    # To ten kilobytes: the weights of a model that is built here are few megabytes.
    return {name: round(size / _GB, 5) for name, size in sizes.items()}


def _trained(experiment: Experiment) -> dict[str, float]:
    model, training = _model_sizes(experiment), experiment.training
    shard = model.parameters / training.world_size
    # FSDP2 then keeps weights, gradients and moments in the host's memory.
    if _is_set(experiment, f"{_ACTOR}.fsdp_config.offload_policy"):
        shard = 0.0
    is_lora = bool(_least(experiment, f"{_MODEL}.lora_rank", 0))
    tokens = _tokens(experiment)
    is_fused = _is_set(experiment, f"{_MODEL}.use_fused_kernels")
    is_offloaded = _is_set(experiment, f"{_MODEL}.enable_activation_offload")
    bytes_logits = _LOGITS_HELD * tokens * model.vocabulary * _BYTES_LOGIT[experiment.profile]
    is_on_host = experiment.profile == "gpu"
    return {
        "weights": 4 * shard,
        "gradients": 4 * shard * (not is_lora),
        "optimiser": 8 * shard * (not is_lora),
        "reference": 4 * shard * (_has_reference(experiment) and not (is_lora or is_on_host)),
        "logits": float(_CHUNK_BYTES * model.vocabulary if is_fused else bytes_logits),
        "activations": tokens * model.width * model.layers * 2.0 * (not is_offloaded),
    }


def check_memory(experiment: Experiment, gpu_memory_gib: float, *, gpu: str) -> None:
    """Raise CapacityError when a trial surely does not fit a GPU of that memory (GPU profile)."""
    if experiment.profile != "gpu" or not gpu_memory_gib:
        return
    sizes = estimate_memory(experiment, gpu_memory_gib)
    if not sizes:  # the model's folder is on another machine
        return
    whole = gpu_memory_gib * _GIB / _GB
    if sizes["update"] > whole:
        raise CapacityError(
            f"an update takes at least {sizes['update']:.1f} GB of a GPU ({_words(sizes)}); "
            f"{gpu} has {whole:.1f}. Lower training.ppo_micro_batch_size_per_gpu, raise "
            "training.num_gpus, or take a larger GPU"
        )
    if sizes["rollout"] > whole:
        raise CapacityError(
            f"rollouts take at least {sizes['rollout']:.1f} GB of a GPU (vLLM's share "
            f"{sizes['engine']:.1f}, the actor the rest); {gpu} has {whole:.1f}. Lower [verl] "
            f'"{_ROLLOUT}.gpu_memory_utilization", or raise training.num_gpus'
        )
    if sizes["kv_cache"] <= 0:
        raise CapacityError(
            f"vLLM's weights take {_engine_weights(experiment) / _GB:.1f} GB of a GPU, its share "
            f"of {gpu} is {sizes['engine']:.1f}. Raise [verl] "
            f'"{_ROLLOUT}.gpu_memory_utilization" or "{_ROLLOUT}.tensor_model_parallel_size"'
        )


def _words(sizes: Mapping[str, float]) -> str:
    shown = ("weights", "gradients", "optimiser", "reference", "logits", "activations")
    return ", ".join(f"{name} {sizes[name]:.1f}" for name in shown if sizes[name])


def _tokens(experiment: Experiment) -> int:
    """Tokens of one forward pass on one GPU."""
    parallel = _greatest(experiment, f"{_ACTOR}.ulysses_sequence_parallel_size", 1)
    if _is_set(experiment, f"{_ACTOR}.use_dynamic_bsz"):
        # verl's own default.
        tokens = _least(experiment, f"{_ACTOR}.ppo_max_token_len_per_gpu", 16384)
    else:
        length = sum(
            max(map(int, possible(experiment, address)))
            for address in ("data.max_prompt_tokens", "training.max_response_tokens")
        )
        micro = "training.ppo_micro_batch_size_per_gpu"
        tokens = max(map(int, possible(experiment, micro))) * length
    return int(tokens / parallel)


def _has_reference(experiment: Experiment) -> bool:
    switches = ("training.use_kl_in_reward", "training.use_kl_loss")
    return any(any(possible(experiment, switch)) for switch in switches)


def _kept(experiment: Experiment, sizes: Mapping[str, float]) -> float:
    """What the actor keeps on a GPU while answers are sampled."""
    offloads = {"weights": "param_offload", "optimiser": "optimizer_offload"}
    return sum(
        0.0 if _is_set(experiment, f"{_ACTOR}.fsdp_config.{key}") else sizes[name]
        for name, key in offloads.items()
    )


def _engine(experiment: Experiment, gpu_memory_gib: float) -> float:
    if experiment.profile == "cpu":
        return float(setting(experiment, f"{_ROLLOUT}.engine_kwargs.vllm.kv_cache_memory_bytes", 0))
    # verl's own default.
    return _least(experiment, f"{_ROLLOUT}.gpu_memory_utilization", 0.5) * gpu_memory_gib * _GIB


def _engine_weights(experiment: Experiment) -> float:
    parallel = _greatest(experiment, f"{_ROLLOUT}.tensor_model_parallel_size", 1)
    return 2 * _model_sizes(experiment).parameters / parallel


def _values(experiment: Experiment, key: str, default: float) -> list[float]:
    values = possible(experiment, f"verl.{key}", setting(experiment, key, default))
    return [float(value) for value in values]


def _greatest(experiment: Experiment, key: str, default: float) -> float:
    return max(_values(experiment, key, default))


def _least(experiment: Experiment, key: str, default: float) -> float:
    return min(_values(experiment, key, default))


def _is_set(experiment: Experiment, key: str) -> bool:
    # A trial without it needs the memory, so all must have it.
    return all(possible(experiment, f"verl.{key}", setting(experiment, key, False)))
