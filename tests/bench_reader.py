"""Reader on a corpus of a given size: peak memory of all its processes and notes per second, JSON.

python tests/bench_reader.py [--size GB] [--folder DIR]

The corpus repeats embedded admissions under new ids; each line of a summary is written several
times, so that a summary has about the 10 kB of MIMIC-IV's. Memory is the sum over the
command and all it starts (Ray included): `peak_mb` of resident sets, where a shared page counts in
every process, `peak_pss_mb` of proportional sets, where it counts once.
"""

import argparse
import csv
import gzip
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from deepicd.notes.corpus.mimic_tables import write_tables
from deepicd.notes.corpus.profiles import load_knowledge

NUM_ADMISSIONS = 2000
NUM_CHARACTERS = 10_000
INTERVAL_S = 0.2
SHARES = (0.6, 0.1, 0.2, 0.1)
NOTES = "note/discharge.csv.gz"
FIRST_ID = 10_000_000


def write_corpus(folder: Path, num_bytes: int) -> int:
    """MIMIC-IV tables with about `num_bytes` of text under `folder`; returns the summaries."""
    with tempfile.TemporaryDirectory() as seed_folder:
        seeds = Path(seed_folder)
        write_tables(load_knowledge(), seeds, num_notes=NUM_ADMISSIONS, shares=SHARES, seed=1)
        notes = [row for row in read_table(seeds / NOTES) if row["note_type"] == "DS"]
        diagnoses = read_table(seeds / "hosp/diagnoses_icd.csv.gz")
    gold = {row["hadm_id"]: row for row in diagnoses if row["seq_num"] == "1"}
    notes = [{**row, "text": lengthen(row["text"])} for row in notes]
    num_notes = max(1000, round(num_bytes / (sum(len(row["text"]) for row in notes) / len(notes))))
    ids = range(FIRST_ID, FIRST_ID + num_notes)
    rows = [notes[number % len(notes)] for number in range(num_notes)]
    write_table(
        folder / NOTES,
        ["note_id", "subject_id", "hadm_id", "note_type", "note_seq", "text"],
        (
            [f"{i}-DS-1", i, i, "DS", 1, f"Chief Complaint:\nvisit {i}\n\n{row['text']}"]
            for i, row in zip(ids, rows, strict=True)
        ),
    )
    write_table(
        folder / "hosp/diagnoses_icd.csv.gz",
        ["subject_id", "hadm_id", "seq_num", "icd_code", "icd_version"],
        (
            [i, i, 1, gold[row["hadm_id"]]["icd_code"], gold[row["hadm_id"]]["icd_version"]]
            for i, row in zip(ids, rows, strict=True)
        ),
    )
    stays = ([i, i, "Medicare", "WHITE"] for i in ids)
    write_table(
        folder / "hosp/admissions.csv.gz", ["subject_id", "hadm_id", "insurance", "race"], stays
    )
    people = ([i, "F", 60] for i in ids)
    write_table(folder / "hosp/patients.csv.gz", ["subject_id", "gender", "anchor_age"], people)
    return num_notes


def lengthen(text: str) -> str:
    """A summary of about `NUM_CHARACTERS`: each line follows itself."""
    times = max(1, NUM_CHARACTERS // len(text))
    return "\n".join(line for line in text.splitlines() for _ in range(times))


def read_table(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


def write_table(path: Path, header: list[str], rows: Iterator[list[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wb", 1) as packed:
        text = io.TextIOWrapper(packed, encoding="utf-8", newline="")
        writer = csv.writer(text)
        writer.writerow(header)
        writer.writerows(rows)
        text.flush()


def watch(process: subprocess.Popen[bytes]) -> dict[str, object]:
    """Largest sums over a process and its descendants until it ends, in MB, and what the
    proportional sets were made of at their largest, by the name of the process.
    """
    peaks, parts = {"peak_mb": 0.0, "peak_pss_mb": 0.0}, {}
    root = psutil.Process(process.pid)
    while process.poll() is None:
        rss, pss = 0, Counter[str]()
        with suppress(psutil.NoSuchProcess):
            for one in [root, *root.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    size = one.memory_full_info()
                    rss += size.rss
                    pss[name_of(one)] += size.pss
        peaks["peak_mb"] = max(peaks["peak_mb"], rss)
        if pss.total() > peaks["peak_pss_mb"]:
            peaks["peak_pss_mb"] = pss.total()
            parts = {name: round(size / 1e6) for name, size in pss.most_common(8)}
        time.sleep(INTERVAL_S)
    return {**{name: round(peak / 1e6) for name, peak in peaks.items()}, "peak_parts_mb": parts}


def name_of(process: psutil.Process) -> str:
    """Short name: Ray's for its workers, else the program's or its module's."""
    words = " ".join(process.cmdline()).split()
    if words and words[0].startswith("ray::"):
        return words[0]
    programs = [Path(word).name for word in words[:3] if not word.startswith("-")]
    return programs[-1] if programs else process.name()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=float, default=0.05, help="Text of the corpus, in GB.")
    parser.add_argument("--folder", type=Path, help="Where to put it; a temporary one if left out.")
    parser.add_argument("--json", action="store_true", help="Accepted for the other benchmarks.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        num_notes = write_corpus(folder / "mimic", round(arguments.size * 1e9))
        command = [sys.executable, "-m", "deepicd", "notes", "build", "--source", "mimic"]
        command += ["--root", str(folder / "mimic"), "--out", str(folder / "notes"), "--json"]
        start = time.monotonic()
        process = subprocess.Popen([*command, "--no-card"], stdout=subprocess.DEVNULL)
        peaks = watch(process)
        seconds = time.monotonic() - start
        if process.wait():
            sys.exit(f"the build failed with exit code {process.returncode}")
        report = json.loads((folder / "notes/report.json").read_text())
    result = {
        "size_gb": arguments.size,
        "num_notes": num_notes,
        "num_kept": report["num_notes"],
        "num_cpus": os.cpu_count(),
        "seconds": round(seconds, 1),
        "notes_per_s": round(num_notes / seconds),
        "mb_per_s": round(arguments.size * 1e3 / seconds, 1),
        **peaks,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
