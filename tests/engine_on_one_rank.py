"""verl's own engine with an experiment's composed settings, on one rank without Ray.

    python tests/engine_on_one_rank.py MODEL OPTIONS

Started by `engine_runs.run_engine`. MODEL is a Hugging Face folder, OPTIONS is JSON: `values`
(address → value of the experiment, whose profile is gpu), `lengths` (tokens of each sequence),
`patched` (false leaves verl as it is). Prints one line of JSON: what the engine
computed, beside transformers.
"""

import importlib
import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass
from verl.workers.engine_workers import TrainingWorker, TrainingWorkerConfig
from verl.workers.utils.losses import sft_loss

from deepicd.config import Experiment, with_values
from deepicd.training.grpo.config import compose_grpo
from deepicd.training.verl_settings import EXTERNAL

OPTIONS = json.loads(sys.argv[2])
IS_CPU = os.environ["VERL_PLATFORM"] == "cpu"


def compose(model: Path) -> Any:
    experiment = with_values(Experiment(profile="gpu"), OPTIONS.get("values", {}))
    config = compose_grpo(
        experiment, model=model, train=Path("t"), validation=Path("v"), out=Path("out")
    )
    return config.actor_rollout_ref


def make_worker(model: Path, composed: Any) -> TrainingWorker:
    """As verl's trainers make one of these settings."""
    if OPTIONS.get("patched", True):
        # What verl imports by its name.
        importlib.import_module(EXTERNAL)
    elif IS_CPU:
        # The CPU has no other engine.
        importlib.import_module("deepicd.training.verl_plugin.cpu.engine")
    actor = omega_conf_to_dataclass(composed.actor)
    worker = TrainingWorker(
        TrainingWorkerConfig(
            model_type="language_model",
            model_config=omega_conf_to_dataclass(composed.model),
            engine_config=actor.engine,
            optimizer_config=actor.optim,
            checkpoint_config=actor.checkpoint,
        )
    )
    worker.reset()
    worker.set_loss_fn(partial(sft_loss, config=None))
    return worker


def make_batch(vocabulary: int, pad: int, micro_batch: int) -> Any:
    generator = torch.Generator().manual_seed(1)
    texts = [torch.randint(vocabulary, (n,), generator=generator) for n in OPTIONS["lengths"]]
    nested = partial(torch.nested.as_nested_tensor, layout=torch.jagged)
    tensors = {
        "input_ids": nested(texts),
        "position_ids": nested([torch.arange(len(text)) for text in texts]),
        "loss_mask": nested([torch.ones_like(text) for text in texts]),
    }
    settings = {
        "temperature": 1.0,
        "pad_mode": "no_padding",
        "pad_token_id": pad,
        "micro_batch_size_per_gpu": micro_batch,
        "use_dynamic_bsz": False,
        "calculate_entropy": True,
        "global_batch_size": len(texts),
        "global_token_num": [len(text) for text in texts],
        "update_lr_scheduler": True,
        "compute_loss": False,
    }
    return texts, tu.get_tensordict(tensors, settings)


def wanted_log_probs(model: Path, texts: list[Any], dtype: Any) -> list[Any]:
    device = "cpu" if IS_CPU else "cuda"
    network = AutoModelForCausalLM.from_pretrained(model, dtype=dtype).eval().to(device)
    found = []
    for text in texts:
        with torch.inference_mode():
            logits = network(input_ids=text[None].to(device)).logits[0].float()
        rows = logits.log_softmax(-1)[:-1].gather(-1, text[1:, None].to(device))
        found.append(rows.squeeze(-1).cpu())
    return found


def main() -> None:
    model, began = Path(sys.argv[1]), time.monotonic()
    composed, config = compose(model), AutoConfig.from_pretrained(model)
    micro_batch = composed.actor.ppo_micro_batch_size_per_gpu
    texts, batch = make_batch(config.vocab_size, config.pad_token_id or 0, micro_batch)
    # Before verl puts its own forward pass into the model's class.
    wanted = wanted_log_probs(model, texts, torch.bfloat16)
    exact = wanted_log_probs(model, texts, torch.float32)
    if not IS_CPU:
        torch.cuda.reset_peak_memory_stats()
    worker = make_worker(model, composed)
    output = worker.infer_batch(batch.to("cpu" if IS_CPU else "cuda"))
    log_probs = tu.get(output, "log_probs")
    found = [row[:-1].float().cpu() for row in log_probs.unbind()]
    before = [p.detach().float().sum().item() for p in worker.engine.module.parameters()]
    trained = worker.train_batch(batch)
    after = [p.detach().float().sum().item() for p in worker.engine.module.parameters()]
    flat = [torch.cat(rows) for rows in (found, wanted, exact)]
    left = {
        "attention": worker.model_config.hf_config._attn_implementation,
        "dtype": str(log_probs.dtype),
        "error": float((flat[0] - flat[2]).abs().mean()),
        "error_of_transformers": float((flat[1] - flat[2]).abs().mean()),
        "correlation": float(torch.corrcoef(torch.stack(flat[::2]))[0, 1]),
        "entropy": float(tu.get(output, "entropy").values().float().mean()),
        "loss": float(tu.get(trained, "metrics")["loss"]),
        "moved": sum(a != b for a, b in zip(before, after, strict=True)) / len(before),
        "parameters": len(before),
        "seconds": round(time.monotonic() - began, 1),
    }
    if not IS_CPU:
        left["peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    print(json.dumps(left))


if __name__ == "__main__":
    main()
