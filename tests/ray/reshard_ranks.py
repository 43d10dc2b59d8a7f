"""Two ranks: train, save by verl, cut for another number of ranks, load by verl, go on.

Started by `test_reshard.py` as `python reshard_ranks.py FOLDER`; a rank is a process, and takes
part in groups of two and of one. Writes `found.json`: the largest differences, by direction.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["VERL_PLATFORM"] = "cpu"

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import Qwen2Config, Qwen2ForCausalLM
from verl.utils.checkpoint.fsdp_checkpoint_manager import FSDPCheckpointManager

from deepicd.training.checkpoints.reshard import fit_world_size

CONTENTS = ["model", "optimizer", "extra"]
WAIT_S = 120.0


class Actor:
    """A tiny model as verl's FSDP2 engine holds it; sizes divide by nothing."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        shape = {"vocab_size": 11, "hidden_size": 6, "intermediate_size": 7}
        config = Qwen2Config(
            **shape, num_hidden_layers=2, num_attention_heads=1, num_key_value_heads=1
        )
        self.model = Qwen2ForCausalLM(config).float()
        mesh = init_device_mesh("cpu", (dist.get_world_size(),), mesh_dim_names=("fsdp",))
        for layer in self.model.model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(self.model, mesh=mesh)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.schedule = LambdaLR(self.optimizer, lambda step: 1 / (1 + step))
        self.manager = FSDPCheckpointManager(
            self.model,
            self.optimizer,
            self.schedule,
            checkpoint_config={"save_contents": CONTENTS, "load_contents": CONTENTS},
        )

    def update(self, step: int) -> None:
        """One step on a batch that all ranks share, row by row."""
        rows = (torch.arange(20).reshape(4, 5) * (step + 3) + step) % 11
        mine = rows[dist.get_rank() :: dist.get_world_size()]
        self.optimizer.zero_grad()
        self.model(input_ids=mine, labels=mine).loss.backward()
        self.optimizer.step()
        self.schedule.step()

    def save(self, folder: Path) -> Path:
        """As verl's trainer does."""
        self.manager.save_checkpoint(str(folder / "actor"), global_step=2)
        if dist.get_rank() == 0:
            torch.save({"position": 2}, folder / "data.pt")
        dist.barrier()
        return folder

    def state(self) -> dict[str, torch.Tensor]:
        """Weights, moments and schedule, whole."""
        moments = {
            f"{number}.{name}": value
            for number, values in self.optimizer.state_dict()["state"].items()
            for name, value in values.items()
        }
        rates = {"lr": torch.tensor(self.schedule.get_last_lr())}
        found = {**self.model.state_dict(), **moments, **rates}
        return {name: whole(value).clone() for name, value in found.items()}


def whole(value: Any) -> torch.Tensor:
    return value.full_tensor() if isinstance(value, DTensor) else value


def unbroken(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """State at the checkpoint of step 2, and one update later."""
    actor = Actor()
    for step in range(2):
        actor.update(step)
    actor.save(folder)
    before = actor.state()
    actor.update(2)
    return before, actor.state()


def resumed(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The same, of an actor that begins at the checkpoint."""
    actor = Actor()
    actor.manager.load_checkpoint(str(folder / "actor"))
    before = actor.state()
    actor.update(2)
    return before, actor.state()


def join_group(root: Path, name: str, *, rank: int, world_size: int) -> None:
    """A new group in place of the one before."""
    if dist.is_initialized():
        dist.destroy_process_group()
    dist.init_process_group(
        "gloo", init_method=f"file://{root / name}", rank=rank, world_size=world_size
    )


def largest(wanted: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> float:
    assert wanted.keys() == found.keys()
    return max(float((wanted[name] - found[name]).abs().max()) for name in wanted)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + WAIT_S
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.05)


def main(rank: int, root: Path) -> None:
    two, one, ready = root / "two/global_step_2", root / "one/global_step_2", root / "ready"
    torch.set_num_threads(1)
    join_group(root, "first", rank=rank, world_size=2)
    of_two = unbroken(two)
    said: list[str] = []
    if rank == 0:
        join_group(root, "alone", rank=0, world_size=1)
        of_one = unbroken(one)
        from_two = resumed(fit_world_size(two, 1, on_event=said.append))
        fit_world_size(one, 2, on_event=said.append)
        ready.touch()
    wait_for(ready)
    join_group(root, "second", rank=rank, world_size=2)
    from_one = resumed(root / "one/resharded/global_step_2")
    if rank == 0:
        found = {
            "2 to 1": [largest(*pair) for pair in zip(of_two, from_two, strict=True)],
            "1 to 2": [largest(*pair) for pair in zip(of_one, from_one, strict=True)],
            "moved": largest(of_two[0], of_two[1]),
            "said": said,
        }
        (root / "found.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(main, (Path(sys.argv[1]),), nprocs=2)
