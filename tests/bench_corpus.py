"""Embedded notes per CPU second on one core: draw, put into words, write tables, ceiling.

python tests/bench_corpus.py [--num-notes N] [--num-codes N] [--repeats N] [--json]

Two stages have a plain rival: drawing against one `random()` per finding in a loop, the whole
corpus against only writing the same rows to the same files. Medians of CPU seconds over repeats,
all stages in turn within each repeat.
"""

import argparse
import csv
import gzip
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core, before NumPy is imported
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from deepicd import codes
from deepicd.notes.corpus import mimic_tables, sampling
from deepicd.notes.corpus.profiles import load_knowledge

SHARES = (0.6, 0.1, 0.2, 0.1)
TARGET = 2000.0
"""Notes per CPU second that the whole corpus must reach."""


def draw_plainly(model: sampling.Model, num_notes: int) -> list[list[int]]:
    """Present findings only, one number at a time, as one would write it down first."""
    rng = Random(1)
    prior, present = model.prior.tolist(), model.present.tolist()
    drawn = []
    for _ in range(num_notes):
        row = present[rng.choices(range(len(prior)), prior)[0]]
        drawn.append([number for number, share in enumerate(row) if rng.random() < share])
    return drawn


def rewrite(source: Path, target: Path) -> None:
    """Write the rows of finished tables again: what compressing and formatting alone costs."""
    for name, rows in read_rows(source).items():
        with gzip.open(target / f"{name}.csv.gz", "wt", 6, newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


@cache
def read_rows(source: Path) -> dict[str, list[list[str]]]:
    """Rows by table, read once."""
    rows = {}
    for name in mimic_tables.HEADERS:
        with gzip.open(source / f"{name}.csv.gz", "rt", newline="", encoding="utf-8") as file:
            rows[name.replace("/", "_")] = list(csv.reader(file))
    return rows


def build_stages(num_notes: int, num_codes: int, folder: Path) -> dict[str, Callable[[], object]]:
    """Stage → what runs it; each handles `num_notes` notes."""
    knowledge = load_knowledge(num_codes)
    model = sampling.build_model(knowledge)
    drawn = sampling.sample_admissions(model, num_notes, seed=1)
    splits = ["train", "test"] * (num_notes // 2) + ["train"] * (num_notes % 2)
    codes.title("I10")  # loads the code table

    def write(root: Path = folder / "tables") -> object:
        return mimic_tables.write_tables(
            knowledge, root, num_notes=num_notes, shares=SHARES, seed=1
        )

    write()
    read_rows(folder / "tables")
    return {
        "draw, plainly": lambda: draw_plainly(model, num_notes),
        "draw": lambda: sampling.sample_admissions(model, num_notes, seed=1),
        "ceiling": lambda: [
            sampling.posterior(model, part).argmax(axis=1) for part in drawn.chunks()
        ],
        "words": lambda: list(
            mimic_tables.write_summaries(knowledge, drawn, splits=splits, seed=1)
        ),
        "rows written again": lambda: rewrite(folder / "tables", folder),
        "whole corpus": write,
    }


def measure(
    stages: dict[str, Callable[[], object]], num_notes: int, repeats: int
) -> dict[str, float]:
    """Median notes per CPU second by stage."""
    seconds: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(repeats):
        for name, run in stages.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    return {name: num_notes / statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Benchmark the embedded corpus.")
    parser.add_argument("--num-notes", type=int, default=5000)
    parser.add_argument("--num-codes", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        stages = build_stages(options.num_notes, options.num_codes, Path(name))
        rates = measure(stages, options.num_notes, options.repeats)
    ratios = {
        "draw / plainly": rates["draw"] / rates["draw, plainly"],
        "whole corpus / rows written again": rates["whole corpus"] / rates["rows written again"],
        "whole corpus / target": rates["whole corpus"] / TARGET,
    }
    if options.json:
        load = os.getloadavg()[0]
        print(json.dumps({"notes_per_cpu_s": rates, "ratios": ratios, "load_1min": load}))
        return
    for stage, rate in rates.items():
        print(f"{stage:36} {rate:12,.0f} notes/cpu-s")
    for pair, ratio in ratios.items():
        print(f"{pair:36} {ratio:12.2f} x")


if __name__ == "__main__":
    main()
