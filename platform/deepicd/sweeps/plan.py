"""What a sweep would do, before it does anything: trials, sizes, resources, memory, hours.

In: an experiment. Out: a `Plan` of plain values. Everything follows from the experiment and, where
the model's `config.json` is there, from its sizes; hours need a measured `step_s`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from deepicd.config import Choice, Domain, Experiment, FloatRange, Scalar, draw_trial

_BYTES_TRAINED = 16
"""Per parameter: weight, gradient and two Adam moments in float32."""
_BYTES_LOGIT = {"cpu": 4, "gpu": 2}
_GB = 1e9


@dataclass(frozen=True)
class Plan:
    """One sweep on paper."""

    trials: Mapping[str, Scalar]
    """Number, how many at once, steps of each, and when the first may be stopped."""
    step: Mapping[str, int]
    """Prompts, answers, optimiser updates, and tokens at most."""
    resources: Mapping[str, int]
    """GPUs (logical slots on the CPU profile) of a trial, by node and in all."""
    memory_gb: Mapping[str, float]
    """Estimates per GPU: `logits` of one micro-batch; `training` where the model's size is known,
    as if nothing of it were shared between GPUs."""
    hours: Mapping[str, float]
    """GPU-hours and hours by the clock at most; empty without a measured `step_s`."""
    samples: tuple[Mapping[str, Scalar], ...]
    """Parameters of trials as they could be drawn: only these differ between trials."""


def plan_sweep(experiment: Experiment, *, step_s: float = 0.0, num_samples: int = 3) -> Plan:
    """Plan a sweep.

    Args:
        experiment: settings that `check_settings` accepts.
        step_s: measured seconds of one GRPO step, start and validations spread over it; 0: unknown.
        num_samples: trials to draw, by the experiment's seed.
    """
    training, sweep = experiment.training, experiment.sweep
    num_gpus = training.num_gpus * training.num_nodes
    length = experiment.data.max_prompt_tokens + training.max_response_tokens
    answers = training.train_batch_size * training.rollout_n
    clock = sweep.total_trials * training.total_steps * step_s / 3600
    stop = training.total_steps if sweep.scheduler == "none" else sweep.grace_steps
    rng = Random(experiment.seed)
    return Plan(
        trials={
            "number": sweep.total_trials,
            "at_once": sweep.max_concurrent,
            "steps": training.total_steps,
            "first_stop_at_step": stop,
        },
        step={
            "prompts": training.train_batch_size,
            "answers": answers,
            "updates": training.train_batch_size // training.ppo_mini_batch_size,
            "max_tokens": answers * length,
        },
        resources={"gpus_per_node": training.num_gpus, "gpus": num_gpus},
        memory_gb=_memory(experiment, length),
        hours={"clock": round(clock, 2), "gpu": round(clock * num_gpus, 2)} if step_s else {},
        samples=tuple(
            draw_trial(sweep.search, lambda _, domain: draw(domain, rng))
            for _ in range(num_samples)
        ),
    )


def draw(domain: Domain, rng: Random) -> Scalar:
    """One value of a domain."""
    if isinstance(domain, Choice):
        return rng.choice(domain.values)
    if isinstance(domain, FloatRange):
        if domain.type == "uniform":
            return rng.uniform(domain.low, domain.high)
        return float(domain.low * (domain.high / domain.low) ** rng.random())
    return rng.randint(domain.low, domain.high)


def _memory(experiment: Experiment, length: int) -> dict[str, float]:
    model = _read_sizes(experiment.model.path)
    vocabulary = model.get("vocab_size", experiment.model.vocab_size)
    micro = experiment.training.ppo_micro_batch_size_per_gpu
    logits = micro * length * vocabulary * _BYTES_LOGIT[experiment.profile]
    estimate = {"logits": round(logits / _GB, 2)}
    if parameters := count_parameters(model):
        estimate["training"] = round(parameters * _BYTES_TRAINED / _GB, 2)
    return estimate


def count_parameters(model: Mapping[str, Any]) -> int:
    """Parameters of a Qwen2 or Llama model from its `config.json`; 0 when a size is missing."""
    try:
        hidden, layers, wide = (
            int(model[name]) for name in ("hidden_size", "num_hidden_layers", "intermediate_size")
        )
        heads, vocabulary = int(model["num_attention_heads"]), int(model["vocab_size"])
    except KeyError:
        return 0
    groups = int(model.get("num_key_value_heads") or heads)
    attention = 2 * hidden * hidden + 2 * hidden * (hidden // heads) * groups
    tables = 1 if model.get("tie_word_embeddings") else 2
    return layers * (attention + 3 * hidden * wide + 2 * hidden) + tables * vocabulary * hidden


def _read_sizes(model: Path | None) -> dict[str, Any]:
    path = model / "config.json" if model is not None else None
    if path is None or not path.is_file():
        return {}
    sizes: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return sizes
