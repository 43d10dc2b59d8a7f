"""Ray Data tokenises a split: every row once, in the file's order, with the one renderer's ids."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepicd import prompts, tokens
from deepicd.errors import DataError

NUM_NOTES = 9000


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    """One Ray of our own for all tests here."""
    import ray

    ray.init(address="local", include_dashboard=False, num_cpus=2, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demonstration's own tokeniser, learnt from three notes."""
    from deepicd.training.model import train_tokenizer

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


def test_a_split_streams_in_the_files_order_without_over_long_rows(
    model: Path, split: Path
) -> None:
    stream = tokens.stream_prompts(split, model=model, max_prompt_tokens=200)
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
    stream = tokens.stream_prompts(split, model=model, max_prompt_tokens=4096)
    for row, text in zip(stream.take(20), texts, strict=True):
        assert list(row["token_ids"]) == prompts.prompt_token_ids(tokenizer, text)


def test_an_empty_split_is_refused_before_anything_runs(model: Path, tmp_path: Path) -> None:
    schema = pa.schema([(name, pa.string()) for name in ("note_id", "patient_id", "code", "text")])
    pq.write_table(schema.empty_table(), tmp_path / "test.parquet")
    with pytest.raises(DataError, match="holds no note"):
        tokens.stream_prompts(tmp_path / "test.parquet", model=model, max_prompt_tokens=10)
