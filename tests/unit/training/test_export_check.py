"""An export counts only as the actor that was trained: one flipped weight, and it is refused."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from deepicd.errors import CapacityError, CheckpointError
from deepicd.training.checkpoints.export_check import check_export, compare
from deepicd.training.checkpoints.retention import CHECKPOINT_MODEL
from deepicd.training.checkpoints.shards import shard_file

PROMPTS = [[5, 6, 7, 8], [9, 10]]
SHAPE = {
    "vocab_size": 400,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """The start model's folder; of its configuration alone."""
    Qwen2Config(**SHAPE, dtype="float32").save_pretrained(tmp_path / "start")
    return tmp_path / "start"


@pytest.fixture
def save(tmp_path: Path, learn_tokeniser) -> Path:
    """A checkpoint of one rank: its shard and its export in float32."""
    return write_checkpoint(tmp_path / "global_step_2", learn_tokeniser, torch.float32)


def write_checkpoint(save: Path, learn_tokeniser, dtype: torch.dtype) -> Path:
    torch.manual_seed(0)
    actor = Qwen2ForCausalLM(Qwen2Config(**SHAPE)).float()
    (save / "actor").mkdir(parents=True)
    state = actor.state_dict()
    torch.save(state, shard_file(save / "actor", "model", world_size=1, rank=0))
    export = Qwen2ForCausalLM(Qwen2Config(**SHAPE))
    export.load_state_dict(state)
    export.to(dtype).save_pretrained(save / CHECKPOINT_MODEL)
    tokeniser = PreTrainedTokenizerFast(tokenizer_object=learn_tokeniser(["fever and cough"]))
    tokeniser.save_pretrained(save / CHECKPOINT_MODEL)
    return save


def test_an_export_of_the_same_weights_has_the_same_logits(save, start):
    assert compare(save, start, PROMPTS) == {"weights": 0.0, "logits": 0.0}


def test_a_bfloat16_export_is_compared_at_its_own_precision(tmp_path, start, learn_tokeniser):
    save = write_checkpoint(tmp_path / "global_step_2", learn_tokeniser, torch.bfloat16)
    found = compare(save, start, PROMPTS)
    assert found["weights"] == 0.0 and 1e-5 < found["logits"] < 2e-2


def test_one_flipped_weight_is_refused(save, start):
    file = save / CHECKPOINT_MODEL / "model.safetensors"
    weights = load_file(file)
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] *= -1
    save_file(weights, file, metadata={"format": "pt"})
    name = re.escape("model.layers.1.mlp.up_proj.weight is not what the actor holds")
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(save))}.*: {name}"):
        compare(save, start, PROMPTS)


@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "model.norm.weight"])
def test_a_weight_of_the_actor_that_is_not_a_number_is_refused_wherever_it_stands(
    save, start, name
):
    shard = shard_file(save / "actor", "model", world_size=1, rank=0)
    state = torch.load(shard)
    state[name].view(-1)[-1] = float("nan")
    torch.save(state, shard)
    with pytest.raises(CheckpointError, match=f"{re.escape(name)} is not what the actor holds"):
        compare(save, start, PROMPTS)


def test_an_export_whose_configuration_changed_is_refused_by_its_logits(save, start):
    path = save / CHECKPOINT_MODEL / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rms_norm_eps": 1e-2}))
    with pytest.raises(CheckpointError, match=r"logits differ from the actor's by \d"):
        compare(save, start, PROMPTS)


def test_a_comparison_that_the_kernel_killed_is_a_lack_of_memory_and_no_damage(save, start):
    me = psutil.Process()
    before = set(me.children())
    with ThreadPoolExecutor(1) as pool:
        checked = pool.submit(check_export, save, start, PROMPTS)
        while not (begun := set(me.children()) - before):
            assert not checked.done()
        begun.pop().kill()  # -9, as the kernel does
        with pytest.raises(CapacityError, match=r"memory runs out.*compare_logits = false"):
            checked.result()
