"""Whether a checkpoint's Hugging Face export is the actor that was trained.

In: `global_step_N`, the start model, prompts as token ids. Out: the largest difference found, or a
CheckpointError. Decided here: the actor is built from the start model's configuration and its own
shards, the export by transformers as every later user loads it; both are compared weight by weight
and by their logits, float32 on the CPU. The export may be off by its type's rounding and no more:
`TOLERANCE` is the largest difference of a logit as a share of the largest logit.

The comparison runs in a process of its own
(`python -m deepicd.training.checkpoints.export_check`), so that its memory, two copies of the
weights, is free afterwards.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

from deepicd.checkpoints import verify_by_loading
from deepicd.errors import CapacityError, CheckpointError
from deepicd.training.checkpoints.retention import CHECKPOINT_MODEL

TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2, "float16": 2e-3}
"""Type of the export → what its logits may be off by, relative to the largest logit."""

Prompts = Sequence[Sequence[int]]


def check_export(checkpoint: Path, start_model: Path, prompts: Prompts) -> dict[str, float]:
    """Compare in another process; see `compare`.

    Args:
        checkpoint: a checkpoint.
        start_model: Hugging Face folder that the trial started from.
        prompts: token ids, one list a prompt.

    Raises:
        CheckpointError: the export is not the actor.
        CapacityError: the kernel ended the process, which it does where memory runs out.
    """
    command = [
        sys.executable,
        "-m",
        "deepicd.training.checkpoints.export_check",
        str(checkpoint),
        str(start_model),
    ]
    done = subprocess.run(
        command, input=json.dumps(list(prompts)), capture_output=True, text=True, check=False
    )
    if done.returncode == -signal.SIGKILL:
        raise CapacityError(
            f"the comparison of {checkpoint} with its export was killed, as the kernel does when "
            "memory runs out: it holds two float32 copies of the model. The checkpoint is as it "
            "was. Free memory, or set promotion.compare_logits = false"
        )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        # The last line of a traceback is the error, as `compare` raised it.
        raise CheckpointError(lines[-1].removeprefix("deepicd.errors.CheckpointError: "))
    differences: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return differences


def compare(checkpoint: Path, start_model: Path, prompts: Prompts) -> dict[str, float]:
    """Largest relative difference of weights and of logits.

    Raises:
        CheckpointError: one is above what the export's type explains, or a weight is missing.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from deepicd.training.checkpoints.shards import read_model

    folder = checkpoint / CHECKPOINT_MODEL
    verify_by_loading(folder)
    dtype = str(AutoConfig.from_pretrained(folder).dtype).removeprefix("torch.")
    state = read_model(checkpoint / "actor")
    config = AutoConfig.from_pretrained(start_model)
    actor = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    export = AutoModelForCausalLM.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
    ).eval()
    # Assigned, not copied: no second set of weights in memory. That unties them, hence the line
    # after it.
    actor.load_state_dict(state, assign=True)
    actor.tie_weights()
    weights = export.state_dict()
    differences = {
        # Rounded as the export was: then nothing may differ.
        name: _relative(tensor.to(getattr(torch, dtype)).float(), weights[name])
        for name, tensor in state.items()
    }
    # Not a number counts as the largest: `max` alone would pass over it.
    worst = max(differences, key=lambda name: (isnan(differences[name]), differences[name]))
    if not differences[worst] == 0:
        raise CheckpointError(
            f"{folder}: {worst} is not what the actor holds ({differences[worst]:.3g} off, as a "
            "share of its largest value). The export is damaged: take another checkpoint."
        )
    largest = {"weights": differences[worst], "logits": _compare_logits(actor, export, prompts)}
    if not largest["logits"] <= TOLERANCE[dtype]:
        raise CheckpointError(
            f"{folder}: logits differ from the actor's by {largest['logits']:.3g} of the largest, "
            f"more than {TOLERANCE[dtype]:g}, which {dtype} explains. The export's configuration "
            "is not the start model's: take another checkpoint."
        )
    return largest


def _compare_logits(actor: Any, export: Any, prompts: Prompts) -> float:
    import torch

    differences = []
    for prompt in prompts:
        ids = torch.tensor([list(prompt)])
        with torch.inference_mode():
            differences.append(_relative(actor(input_ids=ids).logits, export(input_ids=ids).logits))
    return max(differences, key=lambda difference: (isnan(difference), difference), default=0.0)


def _relative(actor: Any, export: Any) -> float:
    """Largest difference as a share of the largest value; NaN where one is not a number."""
    # A tensor of zeros must not divide by 0.
    largest = max(float(actor.abs().max()), 1e-30)
    return float((actor - export).abs().max()) / largest


def main() -> None:
    """Entry of the process: CHECKPOINT START_MODEL, prompts as JSON on standard input."""
    checkpoint, start_model = (Path(argument) for argument in sys.argv[1:3])
    largest = compare(checkpoint, start_model, json.load(sys.stdin))
    sys.stdout.write(json.dumps(largest) + "\n")


if __name__ == "__main__":
    main()
