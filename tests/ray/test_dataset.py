"""What verl's trainer is fed: the renderer's token ids, in the file's order, from Ray Data."""

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from torchdata.stateful_dataloader import StatefulDataLoader

from deepicd.errors import ConfigError, DataError
from deepicd.training.grpo.dataset import EpochSampler, NotesDataset, RowStream, verl_row

LIMIT = 400
USES_LIGHT_RAY = True


@pytest.fixture(scope="module")
def run(light_ray: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from deepicd.config import parse_experiment
    from deepicd.notes.build import build_notes
    from deepicd.notes.split_files import read_split
    from deepicd.training.start_model import build_model

    root = tmp_path_factory.mktemp("dataset")
    table = {"data": {"num_notes": 300, "num_codes": 12}, "model": {"vocab_size": 600}}
    experiment = parse_experiment(table, "here")
    build_notes(experiment.data, tables=root / "tables", out=root / "notes")
    texts = [note.text for note in read_split(root / "notes/train.parquet")]
    build_model(experiment.model, texts, root / "model", seed=1)
    return root


def dataset(
    root: Path, split: str, *, limit: int = LIMIT, max_samples: int = -1, overlong: str = "filter"
) -> NotesDataset:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(root / "model")
    config = SimpleNamespace(
        train_files=str(root / "notes/train.parquet"),
        max_prompt_length=limit,
        max_response_length=16,
        overlong=overlong,
        curriculum="",
    )
    file = str(root / f"notes/{split}.parquet")
    return NotesDataset(file, tokenizer, config, max_samples=max_samples)


def test_training_sees_the_ids_of_the_one_renderer_in_the_files_order(run: Path) -> None:
    from transformers import AutoTokenizer

    from deepicd.notes.split_files import read_split
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
    from deepicd.prompts import PromptEncoder
    from deepicd.records import Limits
    from deepicd.tokens import count_lengths

    split = run / "notes/validation.parquet"
    encoder = PromptEncoder.of_model(run / "model", Limits(LIMIT, 16))
    lengths = count_lengths(split, encoder=encoder)
    limit = int(lengths["tokens_mean"])
    rows = dataset(run, "validation", limit=limit)
    seen = [rows[index]["extra_info"]["note_id"] for index in range(len(rows))]
    assert 0 < len(rows) < lengths["num_notes"] and len(set(seen)) == len(rows)
    assert max(len(rows[index]["raw_prompt"]) for index in range(len(rows))) <= limit
    assert len(dataset(run, "validation", max_samples=5)) == 5


READER = """
import sys
from pathlib import Path
sys.path.insert(0, str(Path(sys.argv[1]).parent))
import test_dataset

test_dataset.read_and_save(Path(sys.argv[2]), Path(sys.argv[3]), address=sys.argv[4])
"""


def read_and_save(root: Path, state: Path, *, address: str) -> None:
    """A trainer's loop: read a batch, save what was read together with the loader's state."""
    import ray

    ray.init(address=address, log_to_driver=False)
    loader = training_loader(root)
    saved = torch.load(state, weights_only=False) if state.exists() else {"read": []}
    if "loader" in saved:
        loader.load_state_dict(saved["loader"])
    while True:
        for batch in loader:
            saved = {"read": saved["read"] + batch, "loader": loader.state_dict()}
            torch.save(saved, state.with_suffix(".aside"))
            state.with_suffix(".aside").rename(state)
            time.sleep(0.01)


def training_loader(root: Path) -> StatefulDataLoader:
    rows = dataset(root, "train")
    sampler = EpochSampler(len(rows), seed=1, is_shuffled=True)
    return StatefulDataLoader(rows, batch_size=8, collate_fn=ids_of, sampler=sampler)


def ids_of(rows: list[dict[str, Any]]) -> list[str]:
    return [row["extra_info"]["note_id"] for row in rows]


def test_a_reader_killed_in_mid_epoch_goes_on_with_exactly_the_next_row(
    run: Path, tmp_path: Path, light_ray: str
) -> None:
    state = tmp_path / "data.pt"
    num_rows = len(dataset(run, "train"))
    read: list[str] = []
    for share in (0.3, 0.7, 1.6):  # killed twice in the first epoch and once in the second
        command = [sys.executable, "-c", READER, __file__, str(run), str(state), light_ray]
        reader = subprocess.Popen(command)
        deadline = time.monotonic() + 200
        while len(read) < share * num_rows and time.monotonic() < deadline:
            time.sleep(0.02)
            read = torch.load(state, weights_only=False)["read"] if state.exists() else []
        kill_tree(reader)
        read = torch.load(state, weights_only=False)["read"]
    loader, whole = training_loader(run), []
    while len(whole) < len(read):
        whole += [note_id for batch in loader for note_id in batch]
    assert read == whole[: len(read)]
    first, second = whole[:num_rows], whole[num_rows : 2 * num_rows]
    assert len(set(first)) == num_rows and set(first) == set(second) and first != second


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """-9 for a process and everything it started."""
    children = psutil.Process(process.pid).children(recursive=True)
    for victim in [psutil.Process(process.pid), *children]:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
    process.wait()


def test_no_note_that_fits_is_an_error_with_the_way_out(run: Path) -> None:
    from deepicd.prompts import PromptEncoder
    from deepicd.records import Limits

    needed = PromptEncoder.of_model(run / "model", Limits(LIMIT, 16)).count_overhead()
    with pytest.raises(DataError, match=r"raise it or check the split"):
        dataset(run, "train", limit=needed + 1)[0]
    with pytest.raises(ConfigError, match=r"already has \d+ tokens; raise it"):
        dataset(run, "train", limit=16)


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
    assert 0 < stream.waited_s < 5


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


def test_an_over_long_note_is_shown_cut_to_the_limit(run: Path) -> None:
    from deepicd.notes.split_files import read_split

    notes = read_split(run / "notes/validation.parquet")
    rows = dataset(run, "validation", limit=LIMIT // 3, overlong="truncate")
    assert len(rows) == len(notes)
    shown = [rows[index] for index in range(len(rows))]
    assert max(len(row["raw_prompt"]) for row in shown) <= LIMIT // 3
    cut = [
        (row["extra_info"]["note"], note.text)
        for row, note in zip(shown, notes, strict=True)
        if row["extra_info"]["note"] != note.text
    ]
    assert cut and all(len(short) < len(whole) for short, whole in cut)


def test_the_second_reader_of_a_split_finds_it_tokenised(run: Path) -> None:
    rows = dataset(run, "test")
    whole = [rows[index]["raw_prompt"] for index in range(len(rows))]
    deadline = time.monotonic() + 30  # the reader finishes the file after the last row
    while not (found := list((run / "notes" / "tokens").glob("test-*.parquet"))):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (cached,) = found
    again = dataset(run, "test")
    assert [again[index]["raw_prompt"] for index in range(len(again))] == whole
    assert cached.is_file()


@pytest.mark.parametrize("is_shuffled", [True, False])
def test_an_epoch_is_a_permutation_that_follows_from_seed_and_epoch(is_shuffled: bool) -> None:
    sampler, same = (EpochSampler(10, seed=3, is_shuffled=is_shuffled) for _ in range(2))
    epochs = [list(sampler) for _ in range(3)]
    assert epochs == [list(same) for _ in range(3)]
    assert epochs[0] == list(range(10)) and all(sorted(epoch) == epochs[0] for epoch in epochs)
    assert (epochs[1] != epochs[0] and epochs[2] != epochs[1]) == is_shuffled
    other = EpochSampler(10, seed=4, is_shuffled=is_shuffled)
    list(other)
    assert (list(other) != epochs[1]) == is_shuffled
