"""The shards of verl's actor checkpoints, put together: one state out of a file per rank.

In: `global_step_N/actor` as verl's FSDP checkpoint manager writes it. Out: whole tensors. Decided
here: the files are pickles and are read as weights only; a tensor is whole on every rank or cut
along its first dimension, as FSDP2 cuts it. Anything else (a mesh of two dimensions, LoRA alone) is
refused with its name.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepicd.errors import CheckpointError

State = dict[str, Any]


def shard_file(actor: Path, kind: str, *, world_size: int, rank: int) -> Path:
    """Where a rank's shard lies; `kind` is `model`, `optim` or `extra_state`."""
    return actor / f"{kind}_world_size_{world_size}_rank_{rank}.pt"


def world_size_of(actor: Path) -> int:
    """Number of ranks that wrote a checkpoint.

    Raises:
        CheckpointError: its files are of none, or of several numbers of ranks.
    """
    names = " ".join(file.name for file in actor.glob("model_world_size_*_rank_*.pt"))
    sizes = {int(size) for size in re.findall(r"model_world_size_(\d+)_rank_", names)}
    if len(sizes) != 1:
        raise CheckpointError(
            f"{actor} holds shards of {sorted(sizes) or 'no'} world sizes, one is needed. Go on "
            "from another checkpoint."
        )
    return sizes.pop()


def fsdp_version_of(actor: Path) -> int:
    """1 or 2: which FSDP wrote a checkpoint."""
    path = actor / "fsdp_config.json"
    return int(json.loads(path.read_text(encoding="utf-8"))["FSDP_version"])


def read_shards(actor: Path, kind: str) -> list[State]:
    """State of every rank, on the CPU."""
    world_size = world_size_of(actor)
    files = (shard_file(actor, kind, world_size=world_size, rank=r) for r in range(world_size))
    return [_load(file) for file in files]


def read_model(actor: Path) -> State:
    """Parameter → whole tensor, as the actor held it."""
    shards = read_shards(actor, "model")
    return {name: join([shard[name] for shard in shards], name) for name in shards[0]}


def read_extra(actor: Path) -> State:
    """Schedule and random state of the first rank."""
    import numpy as np
    import torch

    file = shard_file(actor, "extra_state", world_size=world_size_of(actor), rank=0)
    # `extra_state` holds numpy's random state, an array of uint32. The function that rebuilds an
    # array is private, and its module differs between versions of numpy: an array names it.
    rebuild = np.empty(0).__reduce__()[0]
    with torch.serialization.safe_globals([np.ndarray, np.dtype, np.dtypes.UInt32DType, rebuild]):
        return _load(file)


def join(pieces: Sequence[Any], name: str) -> Any:
    """One tensor from what each rank holds of it; what is not a tensor is as on the first rank.

    Raises:
        CheckpointError: it is cut otherwise than along its first dimension.
    """
    import torch
    from torch.distributed.tensor import DTensor, Shard

    first = pieces[0]
    if not isinstance(first, DTensor):
        return first
    if first.device_mesh.ndim != 1:
        raise CheckpointError(
            f"{name} lies on a mesh of {first.device_mesh.ndim} dimensions; only plain FSDP is "
            "read here. Go on with the number of GPUs that wrote the checkpoint."
        )
    if first.placements != (Shard(0),):
        # Not cut: every rank holds the whole of it.
        return first.to_local()
    return torch.cat([piece.to_local() for piece in pieces])


def _load(file: Path) -> State:
    import torch
    import torch.distributed.tensor  # noqa: F401  (registers what a shard holds)

    try:
        state: State = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler raises: the shard cannot be used
        raise CheckpointError(
            f"{file} cannot be read ({type(error).__name__}: {str(error)[:200]}). Go on "
            "from another checkpoint."
        ) from error
    return state
