"""Shards of any number of ranks hold one state, and are read without running what is in them."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard

from deepicd.errors import CheckpointError
from deepicd.training.checkpoints.reshard import fit_world_size, recut
from deepicd.training.checkpoints.shards import join, read_model, shard_file, world_size_of

NUM_RANKS = st.integers(1, 5)


def sharded(whole: torch.Tensor, placement: Shard | Replicate) -> DTensor:
    """As a single rank holds it."""
    mesh = DeviceMesh(
        "cpu", torch.arange(1), mesh_dim_names=("fsdp",), _init_backend=False, _rank=0
    )
    mesh._dim_group_names = ["0"]
    return DTensor.from_local(whole, mesh, [placement], run_check=False)


@given(shape=st.tuples(st.integers(1, 7), st.integers(1, 3)), before=NUM_RANKS, after=NUM_RANKS)
def test_what_is_cut_anew_is_the_same_whole(shape, before, after):
    whole = torch.arange(shape[0] * shape[1], dtype=torch.float32).reshape(shape)
    state = {
        "weight": sharded(whole, Shard(0)),
        "table": sharded(whole, Replicate()),
        "step": torch.tensor(3.0),
        "params": [0, 1],
    }
    for size in (before, after):
        states = [recut([state], "model", world_size=size, rank=rank) for rank in range(size)]
        rows = [len(one["weight"].to_local()) for one in states]
        assert sum(rows) == len(whole) and rows == sorted(rows, reverse=True)
        for name in ("weight", "table"):
            assert torch.equal(join([one[name] for one in states], name), whole)
        assert states[-1]["step"] == 3.0 and states[-1]["params"] == [0, 1]


def write_shards(actor: Path, *, version: int) -> Path:
    actor.mkdir(parents=True)
    state = {"weight": sharded(torch.ones(5, 2), Shard(0))}
    for rank in range(2):
        piece = recut([state], "model", world_size=2, rank=rank)
        torch.save(piece, shard_file(actor, "model", world_size=2, rank=rank))
    (actor / "fsdp_config.json").write_text(json.dumps({"FSDP_version": version, "world_size": 2}))
    return actor


def test_a_file_of_each_rank_makes_one_model(tmp_path):
    actor = write_shards(tmp_path / "global_step_2/actor", version=2)
    assert torch.equal(read_model(actor)["weight"], torch.ones(5, 2))
    save = actor.parent
    assert fit_world_size(save, 2, on_event=print) == save


def test_an_optimiser_in_flat_pieces_is_refused_with_the_way_out(tmp_path):
    actor = write_shards(tmp_path / "global_step_2/actor", version=1)
    with pytest.raises(CheckpointError, match=r"by FSDP1 on 2 GPUs .* Go on with 2 GPUs"):
        fit_world_size(actor.parent, 4, on_event=print)


def test_shards_of_two_world_sizes_in_one_folder_are_refused(tmp_path):
    actor = write_shards(tmp_path / "actor", version=2)
    torch.save({}, shard_file(actor, "model", world_size=3, rank=0))
    with pytest.raises(CheckpointError, match=r"shards of \[2, 3\] world sizes"):
        world_size_of(actor)


def test_a_shard_that_would_run_code_is_not_read(tmp_path):
    actor = write_shards(tmp_path / "actor", version=2)
    code = pickle.dumps(print, protocol=2)
    shard_file(actor, "model", world_size=2, rank=1).write_bytes(code)
    with pytest.raises(CheckpointError, match=r"rank_1\.pt cannot be read"):
        read_model(actor)
