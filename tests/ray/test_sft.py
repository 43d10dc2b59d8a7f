"""The built model and its fine-tuning, with the real tokeniser, verl and Ray Train."""

import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from omegaconf import OmegaConf
from transformers import AutoModelForCausalLM, AutoTokenizer

from deepicd import checkpoints, prompts
from deepicd.config import Experiment
from deepicd.errors import ConfigError, DataError, MissingError
from deepicd.training.sft.dataset import TraceDataset
from deepicd.training.sft.run import train_sft
from deepicd.training.start_model import TAGS, build_model, train_tokenizer

SIGNS = {"I2510": "crushing chest pain", "J189": "cough and fever", "N390": "burning urination"}
NUM_TRACES = 96
USES_LIGHT_RAY = True
MODEL = {"vocab_size": 420, "hidden_size": 64, "num_layers": 2, "num_heads": 2}


def make_rows(num_traces: int) -> list[dict[str, str]]:
    """Notes with their traces; the sign in the note decides the code."""
    rows = []
    for number in range(num_traces):
        code = sorted(SIGNS)[number % len(SIGNS)]
        text = f"CHIEF COMPLAINT: {SIGNS[code]}\nPRESENT ILLNESS: since {number} hours."
        response = prompts.response_text(f"{SIGNS[code]} points there.", f"{code[:3]}.{code[3:]}")
        note_id = f"n{number}"
        rows.append({"note_id": note_id, "text": text, "code": code, "response": response})
    return rows


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Notes, traces and a built model."""
    folder = tmp_path_factory.mktemp("sft")
    rows = make_rows(NUM_TRACES)
    for name in ("notes", "traces"):
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    texts = [row["text"] for row in rows] + [row["response"] for row in rows]
    build_model(Experiment(model=MODEL).model, texts, folder / "model", seed=3)
    names = ("notes", "traces")
    return {"model": folder / "model"} | {name: folder / f"{name}.parquet" for name in names}


def dataset(run: dict[str, Path], **limits: int) -> TraceDataset:
    config: dict[str, Any] = {
        "notes_file": str(run["notes"]),
        "max_prompt_tokens": 200,
        "max_trace_tokens": 60,
        "overlong": "filter",
        "train_batch_size": 16,
    }
    return TraceDataset(
        parquet_files=str(run["traces"]),
        tokenizer=AutoTokenizer.from_pretrained(run["model"]),
        config=OmegaConf.create(config | limits),
    )


def test_the_models_vocabulary_is_the_tokenisers(run):
    tokenizer = AutoTokenizer.from_pretrained(run["model"])
    model = AutoModelForCausalLM.from_pretrained(run["model"])
    assert model.config.vocab_size == len(tokenizer) == model.get_input_embeddings().num_embeddings
    assert model.dtype == torch.float32
    assert tokenizer.eos_token == prompts.END_OF_TURN
    assert tokenizer.chat_template == prompts.CHAT_TEMPLATE


def test_the_loaded_tokeniser_is_the_trained_one(run):
    texts = [row["text"] for row in make_rows(NUM_TRACES)]
    trained = train_tokenizer(texts, vocab_size=400)
    folder = run["model"].with_name("tokenizer")
    trained.save_pretrained(folder)
    AutoModelForCausalLM.from_pretrained(run["model"]).config.save_pretrained(folder)
    loaded = AutoTokenizer.from_pretrained(folder)
    for text in ["a\n\n  b's 12.5 mg; I25.10 é", "<think>x</think>\t\r\n", *texts[:5]]:
        assert loaded(text)["input_ids"] == trained(text)["input_ids"]
        assert loaded.decode(loaded(text)["input_ids"]) == text


def test_digits_stand_alone_and_tags_survive_decoding(run):
    tokenizer = AutoTokenizer.from_pretrained(run["model"])
    text = "x</think>\n<diagnosis>I25.10</diagnosis>"
    ids = tokenizer(text + prompts.END_OF_TURN, add_special_tokens=False)["input_ids"]
    tokens = tokenizer.convert_ids_to_tokens(ids)
    assert tokens[3:-1] == ["<diagnosis>", "I", "2", "5", ".", "1", "0", "</diagnosis>"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert all(len(tokenizer(tag, add_special_tokens=False)["input_ids"]) == 1 for tag in TAGS)


def test_the_same_seed_builds_the_same_bytes(run):
    texts = [row["text"] for row in make_rows(NUM_TRACES)]
    texts += [row["response"] for row in make_rows(NUM_TRACES)]
    again = run["model"].with_name("again")
    build_model(Experiment(model=MODEL).model, texts, again, seed=3)
    other = run["model"].with_name("other")
    build_model(Experiment(model=MODEL).model, texts, other, seed=4)
    files = {name: checkpoints.read_manifest(path)["files"] for name, path in run_like(run)}
    assert files["model"] == files["again"]
    assert files["other"]["tokenizer.json"] == files["model"]["tokenizer.json"]
    assert files["other"]["model.safetensors"] != files["model"]["model.safetensors"]


def run_like(run: dict[str, Path]) -> list[tuple[str, Path]]:
    return [(name, run["model"].with_name(name)) for name in ("model", "again", "other")]


def test_a_tokeniser_without_text_is_refused():
    with pytest.raises(DataError, match="no text to learn"):
        train_tokenizer([], vocab_size=400)


def test_a_samples_prompt_is_the_rollouts_and_loss_falls_on_the_answer_alone(run):
    tokenizer = AutoTokenizer.from_pretrained(run["model"])
    row = make_rows(1)[0]
    sample = dataset(run)[0]
    prompt = prompts.prompt_token_ids(tokenizer, row["text"])
    assert sample["input_ids"][: len(prompt)].tolist() == prompt
    answer = sample["input_ids"][len(prompt) :].tolist()
    assert tokenizer.decode(answer) == row["response"] + prompts.END_OF_TURN
    assert sample["loss_mask"].tolist() == [0] * len(prompt) + [1] * len(answer)
    assert sample["position_ids"].tolist() == list(range(len(prompt) + len(answer)))


def test_over_long_traces_are_left_out_and_too_few_are_refused(run):
    longest = max(len(sample["input_ids"]) for sample in dataset(run))
    assert len(dataset(run)) == NUM_TRACES and longest <= 260
    with pytest.raises(DataError, match=r"0 of 96 traces fit into the token limits"):
        dataset(run, max_trace_tokens=4)
    with pytest.raises(ConfigError, match=r"max_prompt_tokens is 16, and a prompt without a note"):
        dataset(run, max_prompt_tokens=16)


def test_a_missing_input_is_refused_before_anything_starts(run, tmp_path):
    given = {**run, "traces": tmp_path / "none.parquet"}
    with pytest.raises(MissingError, match=r"none\.parquet, which does not exist"):
        train_sft(Experiment(), **given, out=tmp_path / "out")


@pytest.mark.usefixtures("light_ray")
def test_fine_tuning_lowers_the_loss_and_leaves_a_model_that_loads(run, tmp_path):
    experiment = Experiment(
        model=MODEL,
        data={"max_prompt_tokens": 200},
        sft={"batch_size": 16, "epochs": 4, "learning_rate": 5e-3, "max_trace_tokens": 60},
        training={"ppo_micro_batch_size_per_gpu": 16, "ppo_mini_batch_size": 64},
    )
    heeds = signal.getsignal(signal.SIGINT)
    left = train_sft(experiment, **run, out=tmp_path / "start")
    assert signal.getsignal(signal.SIGINT) is heeds  # Ray Train would keep Ctrl-C to itself
    assert (left.num_traces, left.num_steps) == (NUM_TRACES, 4 * NUM_TRACES // 16)
    assert left.losses[0] > 3 > 2 > left.losses[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["start"], "scratch was left behind"
    checkpoints.verify(left.path)
    found = checkpoints.verify_by_loading(left.path)
    model = AutoModelForCausalLM.from_pretrained(left.path)
    assert model.dtype == torch.float32, "the exported configuration would round the weights"
    assert found["vocab_size"] == model.config.vocab_size
    start = AutoModelForCausalLM.from_pretrained(run["model"])
    moved = [
        float((new.detach() - old.detach()).abs().max())
        for new, old in zip(model.parameters(), start.parameters(), strict=True)
    ]
    assert min(moved) > 0, "some parameters were never trained"
