"""Ray Data tokenises a split: every row once, in the file's order, with the one renderer's ids."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepicd import prompts, tokens
from deepicd.errors import ConfigError, DataError
from deepicd.prompts import PromptEncoder
from deepicd.records import Limits

NUM_NOTES = 9000
USES_LIGHT_RAY = True
pytestmark = pytest.mark.usefixtures("light_ray")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demonstration's own tokeniser, learnt from three notes."""
    from deepicd.training.start_model import train_tokenizer

    folder = tmp_path_factory.mktemp("model")
    texts = [f"CHIEF COMPLAINT: fall {number}" for number in range(3)]
    train_tokenizer(texts, vocab_size=400).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A split of several blocks, with a few very long notes in it."""
    path = tmp_path_factory.mktemp("notes") / "train.parquet"
    rows = [
        {
            "note_id": f"n{number:05}",
            "patient_id": f"p{number // 2}",
            "code": "I214",
            "text": f"CHIEF COMPLAINT: fall {number}" + " long" * (300 * (number % 1000 == 7)),
        }
        for number in range(NUM_NOTES)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=1000)
    return path


def encoder_for(model: Path, max_prompt_tokens: int) -> PromptEncoder:
    return PromptEncoder.of_model(model, Limits(max_prompt_tokens, 16, "filter"))


def test_a_split_streams_in_the_files_order_without_over_long_rows(
    model: Path, split: Path
) -> None:
    stream = tokens.stream_prompts(split, encoder=encoder_for(model, 200))
    rows = [
        row for batch in stream.iter_batches(batch_format="pyarrow") for row in batch.to_pylist()
    ]
    wanted = [f"n{number:05}" for number in range(NUM_NOTES) if number % 1000 != 7]
    assert [row["note_id"] for row in rows] == wanted
    assert set(rows[0]) == set(tokens.COLUMNS)


def test_streamed_ids_equal_those_of_the_tokenisers_own_template(model: Path, split: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    texts = pq.read_table(split, columns=["text"])["text"].to_pylist()[:20]
    stream = tokens.stream_prompts(split, encoder=encoder_for(model, 4096))
    for row, text in zip(stream.take(20), texts, strict=True):
        assert list(row["token_ids"]) == prompts.prompt_token_ids(tokenizer, text)


def test_an_empty_split_is_refused_before_anything_runs(model: Path, tmp_path: Path) -> None:
    schema = pa.schema([(name, pa.string()) for name in ("note_id", "patient_id", "code", "text")])
    pq.write_table(schema.empty_table(), tmp_path / "test.parquet")
    with pytest.raises(DataError, match="holds no note"):
        tokens.stream_prompts(tmp_path / "test.parquet", encoder=encoder_for(model, 100))


def test_a_curriculum_streams_in_the_order_of_a_column(model: Path, split: Path) -> None:
    def ids(order_by: str) -> list[str]:
        stream = tokens.stream_prompts(split, encoder=encoder_for(model, 4096), order_by=order_by)
        return [row["note_id"] for row in stream.take_all()]

    assert ids("-note_id") == [f"n{number:05}" for number in reversed(range(NUM_NOTES))]
    longest = {f"n{number:05}" for number in range(7, NUM_NOTES, 1000)}
    assert set(ids("length")[-len(longest) :]) == longest
    with pytest.raises(ConfigError, match=r"data\.curriculum is 'size'.* has no such column"):
        tokens.stream_prompts(split, encoder=encoder_for(model, 4096), order_by="size")


def test_what_was_kept_is_read_and_not_tokenised_again(model: Path, split: Path) -> None:
    encoder = encoder_for(model, 200)
    cached = tokens.cache_path(split, encoder=encoder)
    stream = tokens.stream_prompts(split, encoder=encoder)
    first = pa.concat_tables(
        tokens.cache_blocks(stream.iter_batches(batch_format="pyarrow"), cached)
    )
    broken = PromptEncoder("no tokeniser at all", encoder.max_tokens, "filter")
    cached.rename(tokens.cache_path(split, encoder=broken))
    again = tokens.stream_prompts(split, encoder=broken).to_arrow_refs()
    import ray

    assert pa.concat_tables(ray.get(again)).to_pylist() == first.to_pylist()
    assert tokens.count_prompts(split, encoder=broken) == first.num_rows


def test_two_nodes_share_a_split_and_give_what_one_gives(
    model: Path, split: Path, tmp_path: Path
) -> None:
    program = Path(__file__).with_name("two_nodes.py")
    command = [sys.executable, str(program), str(model), str(split), str(tmp_path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    alone = tokens.stream_prompts(split, encoder=encoder_for(model, 200))
    rows = [
        [row["note_id"], row["token_ids"]]
        for batch in alone.iter_batches(batch_format="pyarrow")
        for row in batch.to_pylist()
    ]
    assert json.loads(done.stdout.splitlines()[-1]) == rows
    pieces = [len(list(node.iterdir())) for node in tmp_path.iterdir()]
    assert len(pieces) == 2 and sum(pieces) == NUM_NOTES // 1000
