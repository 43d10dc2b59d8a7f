"""What verl's trainer is fed: the renderer's token ids, in the file's order, from Ray Data."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deepicd.errors import DataError
from deepicd.training.dataset import NotesDataset, RowStream, verl_row

LIMIT = 400


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    import ray

    from deepicd.config import parse_experiment
    from deepicd.notes.build import build_notes, read_split
    from deepicd.training.model import build_model

    root = tmp_path_factory.mktemp("dataset")
    table = {"data": {"num_notes": 300, "num_codes": 12}, "model": {"vocab_size": 600}}
    experiment = parse_experiment(table, "here")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        build_notes(experiment.data, tables=root / "tables", out=root / "notes", seed=1)
        texts = [note.text for note in read_split(root / "notes/train.parquet")]
        build_model(experiment.model, texts, root / "model", seed=1)
        yield root
    finally:
        ray.shutdown()


def dataset(root: Path, split: str, *, limit: int = LIMIT, max_samples: int = -1) -> NotesDataset:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(root / "model")
    config = SimpleNamespace(train_files=str(root / "notes/train.parquet"), max_prompt_length=limit)
    file = str(root / f"notes/{split}.parquet")
    return NotesDataset(file, tokenizer, config, max_samples=max_samples)


def test_training_sees_the_ids_of_the_one_renderer_in_the_files_order(run: Path) -> None:
    from transformers import AutoTokenizer

    from deepicd.notes.build import read_split
    from deepicd.prompts import prompt_token_ids

    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    notes = read_split(run / "notes/train.parquet")
    rows = dataset(run, "train")
    assert len(rows) == len(notes)
    for index, note in enumerate(notes[:40]):
        row = rows[index]
        assert row["raw_prompt"] == prompt_token_ids(tokenizer, note.text)
        assert row["reward_model"]["ground_truth"] == note.code
        assert row["extra_info"]["note_id"] == note.note_id


def test_validation_counts_no_note_twice_and_leaves_out_the_over_long(run: Path) -> None:
    from deepicd.tokens import count_lengths

    split = run / "notes/validation.parquet"
    lengths = count_lengths(split, model=run / "model", max_prompt_tokens=LIMIT)
    limit = int(lengths["tokens_mean"])
    rows = dataset(run, "validation", limit=limit)
    seen = [rows[index]["extra_info"]["note_id"] for index in range(len(rows))]
    assert 0 < len(rows) < lengths["num_notes"] and len(set(seen)) == len(rows)
    assert max(len(rows[index]["raw_prompt"]) for index in range(len(rows))) <= limit
    assert len(dataset(run, "validation", max_samples=5)) == 5


def test_a_resumed_loader_goes_on_with_the_next_unseen_row(run: Path) -> None:
    from torchdata.stateful_dataloader import StatefulDataLoader

    def loader() -> StatefulDataLoader:
        return StatefulDataLoader(dataset(run, "train"), batch_size=8, collate_fn=ids_of)

    def ids_of(rows: list[dict[str, Any]]) -> list[str]:
        return [row["extra_info"]["note_id"] for row in rows]

    whole = loader()
    batches = iter(whole)
    first = [next(batches) for _ in range(3)]
    state, rest = whole.state_dict(), [next(batches) for _ in range(2)]
    resumed = loader()
    resumed.load_state_dict(state)
    again = iter(resumed)
    assert [next(again) for _ in range(2)] == rest and rest[0] not in first


def test_no_note_that_fits_is_an_error_with_the_way_out(run: Path) -> None:
    with pytest.raises(DataError, match=r"raise it or check the split"):
        dataset(run, "train", limit=16)[0]


def test_rows_are_waited_for_and_counted_around_the_end() -> None:
    gate = threading.Event()

    def blocks() -> Iterator[list[dict[str, Any]]]:
        yield [{"n": 0}, {"n": 1}]
        gate.wait(5)
        yield [{"n": 2}]

    stream = RowStream(blocks())
    assert stream.row(1) == {"n": 1}
    threading.Timer(0.05, gate.set).start()
    assert [stream.row(index)["n"] for index in (2, 3, 4, 7)] == [2, 0, 1, 1]


def test_an_error_while_reading_reaches_who_asks() -> None:
    def blocks() -> Iterator[list[dict[str, Any]]]:
        yield [{"n": 0}]
        raise DataError("broken block")

    stream = RowStream(blocks())
    assert stream.row(0) == {"n": 0}
    with pytest.raises(DataError, match="broken block"):
        stream.row(1)


def test_the_columns_that_verl_reads() -> None:
    prompt = {"note_id": "n", "patient_id": "p", "code": "I10", "text": "t", "token_ids": [1, 2]}
    row = verl_row(prompt, 3)
    assert row["raw_prompt"] == [1, 2] and row["index"] == 3
    assert row["extra_info"]["note"] == "t"
