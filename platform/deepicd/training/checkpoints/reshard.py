"""A checkpoint of W ranks as V ranks read it.

In: `global_step_N` as verl's FSDP2 actors wrote it, and the number of ranks that go on. Out: a
folder beside it with the same weights, optimiser moments, schedule and position in the notes. verl
loads shards of its own world size only. Decided here: tensors are joined and cut again along their
first dimension, as FSDP2 does (`torch.chunk`); nothing is computed, so no bit changes. Random state
belongs to a rank and is left out: `engine_reuse.seed_workers` seeds every rank when a trial starts.

FSDP1 keeps its optimiser in flat pieces without names; such a checkpoint is refused.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deepicd.errors import CheckpointError
from deepicd.training.checkpoints.shards import (
    State,
    fsdp_version_of,
    join,
    read_extra,
    read_shards,
    shard_file,
    world_size_of,
)
from deepicd.upstream import require_version

_TORCH = ("2.13.0+cpu", "2.13.0")
"""Of the CPU and of the GPU lock."""
RESHARDED = "resharded"
"""Name of the folder beside a trial's checkpoints."""


def fit_world_size(checkpoint: Path, world_size: int, *, on_event: Callable[[str], None]) -> Path:
    """The checkpoint itself, or, when other ranks wrote it, a copy for `world_size` ranks; an
    earlier copy is removed.

    Raises:
        CheckpointError: FSDP1 wrote it, or a tensor is cut in a way that is not known here.
    """
    aside = checkpoint.parent / RESHARDED
    shutil.rmtree(aside, ignore_errors=True)
    before = world_size_of(checkpoint / "actor")
    if before == world_size:
        return checkpoint
    if fsdp_version_of(checkpoint / "actor") != 2:
        raise CheckpointError(
            f"{checkpoint} was written by FSDP1 on {before} GPUs and cannot be cut for "
            f"{world_size}: its optimiser lies in flat pieces. Go on with {before} GPUs, "
            "or train with FSDP2."
        )
    reshard(checkpoint, aside / checkpoint.name, world_size)
    on_event(
        f"goes on with {world_size} ranks from {checkpoint.name} of {before}: weights and "
        "optimiser are the same, random state is seeded anew"
    )
    # verl reads the number of the step from the name of the folder.
    return aside / checkpoint.name


def reshard(checkpoint: Path, target: Path, world_size: int) -> None:
    """Write what verl loads from `checkpoint` to `target`, for `world_size` ranks."""
    source, actor = checkpoint / "actor", target / "actor"
    actor.mkdir(parents=True)
    shutil.copyfile(checkpoint / "data.pt", target / "data.pt")
    for kind in ("model", "optim"):
        _write(actor, kind, read_shards(source, kind), world_size)
    # Of `extra` the schedule alone: it is the same on every rank, random state is a rank's own.
    extra = {"lr_scheduler": read_extra(source)["lr_scheduler"]}
    _write(actor, "extra_state", [extra], world_size)


def _write(actor: Path, kind: str, shards: list[State], world_size: int) -> None:
    import torch

    for rank in range(world_size):
        state = recut(shards, kind, world_size=world_size, rank=rank)
        torch.save(state, shard_file(actor, kind, world_size=world_size, rank=rank))


def recut(pieces: list[Any], name: str, *, world_size: int, rank: int) -> Any:
    """What one rank of `world_size` holds, from what all ranks of another number hold.

    Args:
        pieces: one value a rank; of mappings each value is cut, of others the first rank's is kept.
        name: place of the value, for errors.
        world_size: ranks to cut for.
        rank: the one of them.
    """
    from torch.distributed.tensor import DTensor

    first = pieces[0]
    if isinstance(first, Mapping):
        return {
            key: recut(
                [piece[key] for piece in pieces], f"{name}.{key}", world_size=world_size, rank=rank
            )
            for key in first
        }
    if isinstance(first, DTensor):
        return cut(join(pieces, name), first, world_size=world_size, rank=rank)
    return first


def cut(whole: Any, like: Any, *, world_size: int, rank: int) -> Any:
    """A rank's piece of `whole`, a DTensor placed as `like` is."""
    import torch
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor, Shard

    require_version("torch", _TORCH, "resharding")
    pieces = [whole] * world_size
    if like.placements == (Shard(0),):
        # As FSDP2: `chunk` may give fewer pieces than there are ranks, the others hold nothing.
        pieces = [*torch.chunk(whole, world_size), *[whole[:0]] * world_size]
    before = like.device_mesh
    mesh = DeviceMesh(
        before.device_type,
        torch.arange(world_size),
        mesh_dim_names=before.mesh_dim_names,
        _init_backend=False,  # there are no other ranks here
        _rank=rank,
    )
    mesh._dim_group_names = before._dim_group_names  # the reader's own group, found by its name
    return DTensor.from_local(
        # `torch.save` would write all of the whole that a piece is a view of.
        pieces[rank].clone(),
        mesh,
        like.placements,
        # A check would ask the other ranks; shape and stride cannot be told from one piece.
        run_check=False,
        shape=whole.shape,
        stride=whole.stride(),
    )
