"""Tokenising a split: our Ray Data stream beside what a user would write instead.

    python tests/bench_tokens.py [--notes 100000] [--repeats 3] [--cores 2]

Three ways over the same notes and tokeniser, one after the other in each repeat, each to the last
token: `tokens.stream_prompts`; `datasets.Dataset.map` with one process a core; plain batch
encoding in one process on one core. Prints JSON: median seconds, notes per second, peak memory of
the process tree, and ratios (ours / theirs, above 1 is faster; against plain encoding times cores).
"""

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core is one core in all three
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from deepicd import tokens
from deepicd.prompts import PromptEncoder, render_prompt
from deepicd.records import Limits

BATCH = 1024


def write_split(folder: Path, num_notes: int) -> tuple[Path, Path]:
    """A split of generated notes, repeated under new ids up to `num_notes`, and a tokeniser."""
    from deepicd.clusters.ray_session import ray_session
    from deepicd.config import DataConfig
    from deepicd.notes.build import build_notes
    from deepicd.notes.split_files import read_split
    from deepicd.training.start_model import train_tokenizer

    with ray_session(num_cpus=2):
        config = DataConfig(num_notes=min(num_notes, 6000), num_codes=0)
        build_notes(config, tables=folder / "tables", out=folder / "notes")
    notes = read_split(folder / "notes" / "train.parquet")
    rows = [notes[number % len(notes)] for number in range(num_notes)]
    columns = {
        "note_id": [f"n{number}" for number in range(num_notes)],
        "patient_id": [note.patient_id for note in rows],
        "code": [note.code for note in rows],
        "text": [f"{note.text} {number}" for number, note in enumerate(rows)],
    }
    split, model = folder / "split.parquet", folder / "model"
    pq.write_table(pa.table(columns), split, row_group_size=2048)
    train_tokenizer([note.text for note in notes], vocab_size=4096).save_pretrained(model)
    return split, model


def stream(split: Path, encoder: PromptEncoder) -> int:
    """Ours."""
    blocks = tokens.stream_prompts(split, encoder=encoder).iter_batches(
        batch_size=None, batch_format="pyarrow"
    )
    return sum(block.num_rows for block in blocks)


def map_dataset(split: Path, model: Path, cores: int) -> int:
    """Hugging Face datasets, cache switched off."""
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_caching()
    tokenizer = AutoTokenizer.from_pretrained(model)

    def encode(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        texts = [render_prompt(text) for text in batch["text"]]
        return {"token_ids": tokenizer(texts, add_special_tokens=False)["input_ids"]}

    rows = datasets.Dataset.from_parquet(str(split), cache_dir=str(split.parent / "hf"))
    return len(rows.map(encode, batched=True, batch_size=BATCH, num_proc=cores))


def encode_plainly(split: Path, model: Path) -> int:
    """One process, one core, nothing but the tokeniser."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    count = 0
    for batch in pq.ParquetFile(split).iter_batches(batch_size=BATCH, columns=["text"]):
        texts = [render_prompt(text) for text in batch["text"].to_pylist()]
        count += len([code.ids for code in tokenizer.encode_batch_fast(texts)])
    return count


def measure(work: Callable[[], int], num_notes: int) -> tuple[float, float]:
    """Seconds, and peak memory in MB of this process and what it started, above the start."""
    root, peak, done = psutil.Process(), [0.0], threading.Event()

    def sample() -> None:
        while not done.wait(0.1):
            peak[0] = max(peak[0], tree_memory(root))

    before = tree_memory(root)
    watcher = threading.Thread(target=sample, daemon=True)
    watcher.start()
    started = time.perf_counter()
    count = work()
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    assert count == num_notes, f"{count} of {num_notes} notes came through"
    return seconds, max(0.0, peak[0] - before)


def tree_memory(root: psutil.Process) -> float:
    """Private memory (USS would need root for others; RSS less shared) of a process tree in MB."""
    total = 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            memory = process.memory_info()
        except psutil.Error:
            continue
        total += (memory.rss - memory.shared) / 1e6
    return total


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--notes", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(run(Path(scratch), options), indent=2))


def run(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """All three ways, `repeats` times."""
    from deepicd.clusters.ray_session import ray_session

    split, model = write_split(folder, options.notes)
    encoder = PromptEncoder.of_model(model, Limits(4096, 16))
    readings: dict[str, list[tuple[float, float]]] = {"stream": [], "datasets": [], "plain": []}
    with ray_session(num_cpus=options.cores):
        for _ in range(options.repeats):
            ways: dict[str, Callable[[], int]] = {
                "stream": lambda: stream(split, encoder),
                "datasets": lambda: map_dataset(split, model, options.cores),
                "plain": lambda: encode_plainly(split, model),
            }
            for name, work in ways.items():
                readings[name].append(measure(work, options.notes))
    seconds = {name: statistics.median(s for s, _ in rows) for name, rows in readings.items()}
    return {
        "notes": options.notes,
        "cores": options.cores,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "notes_per_s": {name: round(options.notes / value) for name, value in seconds.items()},
        "peak_mb": {
            name: round(statistics.median(mb for _, mb in rows)) for name, rows in readings.items()
        },
        "ratio_to_datasets": round(seconds["datasets"] / seconds["stream"], 2),
        "ratio_to_plain_times_cores": round(
            seconds["plain"] / options.cores / seconds["stream"], 2
        ),
    }


if __name__ == "__main__":
    main()
