"""Tokenised prompts without Ray: the pure function that Ray Data maps, and bad input."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepicd import prompts, tokens
from deepicd.errors import ConfigError, DataError, MissingError
from deepicd.prompts import PromptEncoder
from deepicd.prompts.encode import load_backend
from deepicd.records import Limits

TEXTS = ["CHIEF COMPLAINT: fall", "CHIEF COMPLAINT: melena " + "x " * 60, "PRESENT ILLNESS: ___M"]


@pytest.fixture(scope="module")
def model(learn_tokeniser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokeniser as transformers saves one."""
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("model")
    learnt = learn_tokeniser(map(prompts.render_prompt, TEXTS))
    loaded = PreTrainedTokenizerFast(tokenizer_object=learnt, eos_token=prompts.END_OF_TURN)
    loaded.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    loaded.save_pretrained(folder)
    return folder


def encoder_for(model: Path, max_tokens: int, overlong: str = "filter") -> PromptEncoder:
    return PromptEncoder(load_backend(model), max_tokens, overlong)


def lengths_of(model: Path) -> list[int]:
    return [prompt.num_tokens for prompt in encoder_for(model, 4096).encode(TEXTS)]


def block_of(texts: list[str]) -> pa.Table:
    rows = [
        {"note_id": f"n{i}", "patient_id": f"p{i}", "code": "I214", "text": text, "age_band": None}
        for i, text in enumerate(texts)
    ]
    return pa.Table.from_pylist(rows)


def test_ids_are_those_of_the_one_renderer_in_the_blocks_order(model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    out = tokens.tokenize_block(block_of(TEXTS), encoder=encoder_for(model, 4096))
    assert out.column_names == list(tokens.COLUMNS)
    assert out["token_ids"].to_pylist() == [
        prompts.prompt_token_ids(tokenizer, text) for text in TEXTS
    ]


def test_a_prompt_is_left_out_only_above_the_limit(model: Path) -> None:
    longest = max(lengths_of(model))
    at_limit = tokens.tokenize_block(block_of(TEXTS), encoder=encoder_for(model, longest))
    below = tokens.tokenize_block(block_of(TEXTS), encoder=encoder_for(model, longest - 1))
    assert at_limit["note_id"].to_pylist() == ["n0", "n1", "n2"]
    assert below["note_id"].to_pylist() == ["n0", "n2"]


def test_a_block_without_a_row_left_keeps_its_columns(model: Path) -> None:
    out = tokens.tokenize_block(block_of(TEXTS), encoder=encoder_for(model, 1))
    assert (out.num_rows, out.column_names) == (0, list(tokens.COLUMNS))
    assert out.schema.field("token_ids").type == pa.list_(pa.int32())


def test_lengths_of_a_split_are_counted(model: Path, tmp_path: Path) -> None:
    split = tmp_path / "train.parquet"
    pq.write_table(block_of(TEXTS), split)
    lengths = lengths_of(model)
    counted = tokens.count_lengths(split, encoder=encoder_for(model, sorted(lengths)[1]))
    assert counted["num_overlong"] == counted["num_left_out"] == 1 and counted["num_cut"] == 0
    cut = tokens.count_lengths(split, encoder=encoder_for(model, sorted(lengths)[1], "truncate"))
    assert (cut["num_overlong"], cut["num_cut"], cut["num_left_out"]) == (1, 1, 0)
    assert counted["tokens_max"] == max(lengths)
    assert counted["tokens_mean"] == pytest.approx(sum(lengths) / 3)


def test_a_split_may_be_a_folder_of_parts(model: Path, tmp_path: Path) -> None:
    (tmp_path / "train.parquet").mkdir()
    for number in range(2):
        pq.write_table(block_of(TEXTS), tmp_path / "train.parquet" / f"part-{number}.parquet")
    split, encoder = tmp_path / "train.parquet", encoder_for(model, 4096)
    assert tokens.count_notes(split) == 2 * len(TEXTS)
    assert tokens.count_prompts(split, encoder=encoder) == 2 * len(TEXTS)
    before = tokens.cache_path(split, encoder=encoder)
    (split / "part-1.parquet").unlink()
    assert tokens.cache_path(split, encoder=encoder) != before


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
            tokens.stream_prompts(path, encoder=encoder_for(model, 10))


def test_a_folder_without_a_usable_tokeniser_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no tokeniser at"):
        load_backend(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="is not a tokeniser"):
        load_backend(tmp_path)


def test_a_tokeniser_that_does_not_know_chatml_is_refused(model: Path, tmp_path: Path) -> None:
    saved = json.loads((model / "tokenizer.json").read_text())
    saved["added_tokens"] = []
    (tmp_path / "tokenizer.json").write_text(json.dumps(saved))
    config = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"has no special token <\|im_start\|> and <\|im_end\|>"):
        load_backend(tmp_path)


def test_a_limit_that_no_note_can_meet_is_refused(model: Path) -> None:
    with pytest.raises(ConfigError, match=r"max_prompt_tokens is 20, and a prompt without a note"):
        PromptEncoder.of_model(model, Limits(20, 10))


# The cache


def blocks_of(count: int) -> list[pa.Table]:
    return [pa.table({"n": [number]}) for number in range(count)]


def test_a_stream_that_was_read_to_its_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "tokens" / "train.parquet"
    assert list(tokens.cache_blocks(iter(blocks_of(3)), path)) == blocks_of(3)
    assert pq.read_table(path)["n"].to_pylist() == [0, 1, 2]
    assert [file.name for file in path.parent.iterdir()] == ["train.parquet"]


def test_a_stream_that_was_left_early_or_broke_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tokens" / "train.parquet"

    def broken():
        yield from blocks_of(2)
        raise DataError("broken block")

    early = tokens.cache_blocks(iter(blocks_of(3)), path)
    next(early)
    early.close()
    with pytest.raises(DataError, match="broken block"):
        list(tokens.cache_blocks(broken(), path))
    assert list(path.parent.iterdir()) == []


def test_a_folder_that_cannot_be_written_costs_the_cache_and_no_note(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("a file, not a folder")
    assert list(tokens.cache_blocks(iter(blocks_of(2)), tmp_path / "tokens" / "x")) == blocks_of(2)


def test_everything_that_decides_the_tokens_decides_the_caches_name(
    model: Path, tmp_path: Path
) -> None:
    split, other = tmp_path / "train.parquet", tmp_path / "other" / "train.parquet"
    other.parent.mkdir()
    pq.write_table(block_of(TEXTS), split)
    pq.write_table(block_of(TEXTS[:2]), other)
    names = [
        tokens.cache_path(split, encoder=encoder_for(model, 100)).name,
        tokens.cache_path(split, encoder=encoder_for(model, 99)).name,
        tokens.cache_path(split, encoder=encoder_for(model, 100, "truncate")).name,
        tokens.cache_path(split, encoder=encoder_for(model, 100), order_by="length").name,
        tokens.cache_path(
            split, encoder=PromptEncoder(load_backend(model).replace("a", "b"), 100)
        ).name,
        tokens.cache_path(other, encoder=encoder_for(model, 100)).name,
    ]
    assert len(set(names)) == len(names)
    assert names[0] == tokens.cache_path(split, encoder=encoder_for(model, 100)).name
