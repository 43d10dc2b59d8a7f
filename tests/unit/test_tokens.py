"""Tokenised prompts without Ray: the pure function that Ray Data maps, and bad input."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepicd import prompts, tokens
from deepicd.errors import ConfigError, DataError, MissingError

TEXTS = ["CHIEF COMPLAINT: fall", "CHIEF COMPLAINT: melena " + "x " * 60, "PRESENT ILLNESS: ___M"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokeniser as transformers saves one."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("model")
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=350,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learner.train_from_iterator(map(prompts.render_prompt, TEXTS), trainer)
    loaded = PreTrainedTokenizerFast(tokenizer_object=learner, eos_token=prompts.END_OF_TURN)
    loaded.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    loaded.save_pretrained(folder)
    return folder


def block_of(texts: list[str]) -> pa.Table:
    rows = [
        {"note_id": f"n{i}", "patient_id": f"p{i}", "code": "I214", "text": text, "age_band": None}
        for i, text in enumerate(texts)
    ]
    return pa.Table.from_pylist(rows)


def test_ids_are_those_of_the_one_renderer_in_the_blocks_order(model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    backend = tokens.load_backend(model)
    out = tokens.tokenize_block(block_of(TEXTS), backend=backend, max_prompt_tokens=4096)
    assert out.column_names == list(tokens.COLUMNS)
    assert out["token_ids"].to_pylist() == [
        prompts.prompt_token_ids(tokenizer, text) for text in TEXTS
    ]


def test_a_prompt_is_left_out_only_above_the_limit(model: Path) -> None:
    backend = tokens.load_backend(model)
    lengths = [len(ids) for ids in tokens.encode_notes(TEXTS, backend)]
    at_limit = tokens.tokenize_block(
        block_of(TEXTS), backend=backend, max_prompt_tokens=max(lengths)
    )
    below = tokens.tokenize_block(
        block_of(TEXTS), backend=backend, max_prompt_tokens=max(lengths) - 1
    )
    assert at_limit["note_id"].to_pylist() == ["n0", "n1", "n2"]
    assert below["note_id"].to_pylist() == ["n0", "n2"]


def test_a_block_without_a_row_left_keeps_its_columns(model: Path) -> None:
    backend = tokens.load_backend(model)
    out = tokens.tokenize_block(block_of(TEXTS), backend=backend, max_prompt_tokens=1)
    assert (out.num_rows, out.column_names) == (0, list(tokens.COLUMNS))
    assert out.schema.field("token_ids").type == pa.list_(pa.int32())


def test_lengths_of_a_split_are_counted(model: Path, tmp_path: Path) -> None:
    split = tmp_path / "train.parquet"
    pq.write_table(block_of(TEXTS), split)
    lengths = [len(ids) for ids in tokens.encode_notes(TEXTS, tokens.load_backend(model))]
    counted = tokens.count_lengths(split, model=model, max_prompt_tokens=sorted(lengths)[1])
    assert counted["num_overlong"] == 1
    assert counted["tokens_max"] == max(lengths)
    assert counted["tokens_mean"] == pytest.approx(sum(lengths) / 3)


def test_a_split_that_cannot_be_used_is_refused_before_ray_starts(
    model: Path, tmp_path: Path
) -> None:
    empty, foreign, broken = (tmp_path / f"{name}.parquet" for name in ("e", "f", "b"))
    pq.write_table(block_of(TEXTS).slice(0, 0), empty)
    pq.write_table(pa.table({"note_id": ["a"]}), foreign)
    broken.write_text("x")
    for path, match in (
        (tmp_path / "none.parquet", "no split at"),
        (empty, r"e\.parquet holds no note"),
        (foreign, r"f\.parquet has no column patient_id, code, text"),
        (broken, r"b\.parquet is not a Parquet file"),
    ):
        with pytest.raises((DataError, MissingError), match=match):
            tokens.stream_prompts(path, model=model, max_prompt_tokens=10)


def test_a_folder_without_a_usable_tokeniser_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no tokeniser at"):
        tokens.load_backend(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="is not a tokeniser"):
        tokens.load_backend(tmp_path)


def test_a_tokeniser_that_does_not_know_chatml_is_refused(model: Path, tmp_path: Path) -> None:
    saved = json.loads((model / "tokenizer.json").read_text())
    saved["added_tokens"] = []
    (tmp_path / "tokenizer.json").write_text(json.dumps(saved))
    config = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"has no special token <\|im_start\|> and <\|im_end\|>"):
        tokens.load_backend(tmp_path)
