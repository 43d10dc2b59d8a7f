"""Loads weights into a running vLLM in several ways and prints how far it is from transformers.

Run as a process of its own by test_weight_reload.py: vLLM's engine is built in this process, so
that the test reaches the worker's model. Prints one JSON object: reading → mean absolute difference
of log-probabilities in nats, or the name of the error raised.
"""

import json
import os
import sys
from pathlib import Path

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "VERL_PLATFORM": "cpu",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}

import torch
from transformers import AutoModelForCausalLM
from vllm import LLM, SamplingParams

from deepicd.config import ModelConfig
from deepicd.errors import CheckpointError
from deepicd.inference.weight_reload import WeightReload, reload_weights
from deepicd.training.start_model import build_model

PROMPTS = ([3, 17, 40, 41, 42, 99], [7] * 12, list(range(20, 60)))
TEXTS = [f"Sign {hex(7919 * number)} of {hex(104729 * number)}.</think>" for number in range(2000)]


def main(folder: Path) -> None:
    config = ModelConfig(num_layers=2)  # the demonstration's widths decide which kernels run
    build_model(config, TEXTS, folder, seed=1)
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    perturb(reference, seed=1)
    engine = Engine(folder)
    readings = {"dummy weights": engine.difference(reference)}
    engine.reload(reference)
    readings["first update"] = engine.difference(reference)
    perturb(reference, seed=2)
    readings["before second update"] = engine.difference(reference)
    engine.reload(reference, without="lm_head")
    readings["second update"] = engine.difference(reference)
    perturb(reference, seed=3)
    engine.reload_without_repack(reference, without="lm_head")
    readings["layer-wise reload alone"] = engine.difference(reference)
    readings["incomplete update"] = engine.reload_incomplete(reference)
    engine.reload(reference)
    readings["after the incomplete one"] = engine.difference(reference)
    readings["verl's load"] = engine.reload_as_verl(reference)
    print(json.dumps(readings))


def perturb(model: torch.nn.Module, *, seed: int) -> None:
    """Move every parameter far enough that stale weights show."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


class Engine:
    """A running vLLM with random weights."""

    def __init__(self, folder: Path) -> None:
        self.llm = LLM(
            str(folder),
            dtype="float32",
            load_format="dummy",
            enforce_eager=True,
            max_model_len=128,
            max_num_seqs=8,
            kv_cache_memory_bytes=2**27,
            disable_log_stats=True,
        )
        core = self.llm.llm_engine.engine_core.engine_core
        self.model = core.model_executor.driver_worker.worker.model_runner.model
        self.config = self.llm.llm_engine.vllm_config.model_config

    def reload(self, reference: torch.nn.Module, *, without: str | None = None) -> None:
        weights = named_weights(reference, without=without)
        half = len(weights) // 2
        reload_weights(self.model, self.config, [weights[:half], weights[half:]])

    def reload_without_repack(self, reference: torch.nn.Module, *, without: str) -> None:
        from vllm.model_executor.model_loader import reload

        with torch.no_grad():
            reload.initialize_layerwise_reload(self.model)
            self.model.load_weights(named_weights(reference, without=without))
            reload.finalize_layerwise_reload(self.model, self.config)

    def reload_incomplete(self, reference: torch.nn.Module) -> str:
        update = WeightReload(self.model, self.config)
        update.begin()
        update.load(named_weights(reference, without="layers.1.mlp"))
        try:
            update.end()
        except CheckpointError as error:
            return str(error)
        return "accepted"

    def reload_as_verl(self, reference: torch.nn.Module) -> float | str:
        from vllm.model_executor.model_loader.utils import process_weights_after_loading

        try:
            self.model.load_weights(named_weights(reference))
            process_weights_after_loading(self.model, self.config, torch.device("cpu"))
        except Exception as error:
            return type(error).__name__
        return self.difference(reference)

    def difference(self, reference: torch.nn.Module) -> float:
        """Mean over prompts and generated tokens of |log p(vLLM) - log p(transformers)|."""
        self.llm.reset_prefix_cache()
        sampling = SamplingParams(max_tokens=24, temperature=1.0, logprobs=0, ignore_eos=True)
        prompts = [{"prompt_token_ids": list(prompt)} for prompt in PROMPTS]
        gaps = []
        for output in self.llm.generate(prompts, sampling, use_tqdm=False):
            tokens = list(output.outputs[0].token_ids)
            steps = zip(output.outputs[0].logprobs, tokens, strict=True)
            found = torch.tensor([step[token].logprob for step, token in steps])
            given = list(output.prompt_token_ids)
            with torch.no_grad():
                logits = reference(torch.tensor([given + tokens])).logits[0]
            wanted = logits.log_softmax(-1)[len(given) - 1 : -1]
            wanted = wanted.gather(1, torch.tensor(tokens)[:, None])[:, 0]
            gaps.append((found - wanted).abs())
        return float(torch.cat(gaps).mean())


def named_weights(
    model: torch.nn.Module, *, without: str | None = None
) -> list[tuple[str, torch.Tensor]]:
    """What the actor sends: its state; a tied lm_head is an entry of it or not."""
    return [
        (name, tensor.detach().clone())
        for name, tensor in model.state_dict().items()
        if without is None or without not in name
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
