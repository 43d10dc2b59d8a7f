"""The prediction log beside plain SQLite, and its windows over many predictions.

    python tests/bench_monitoring.py [--repeats 5] [--predictions 1000000]

Each repeat keeps the same answers by `PredictionLog.record`, and by bare `INSERT`s into a table of
the same columns, each a transaction of its own in write-ahead mode. Then a log is filled, a tenth
of its answers labelled, and all windows of 500 are computed, once cold and once when nothing has
changed. Prints JSON: medians of predictions per second, their ratio (ours / plain), and seconds.
"""

import argparse
import json
import random
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

from deepicd.monitoring.monitor import Monitor
from deepicd.monitoring.prediction_log import FILE, PredictionLog
from deepicd.records import ServedPrediction

CODES = ("I2510", "J189", "N390", "E119", "K219", "I10")
NUM_KEPT = 5000
COLUMNS = (
    *("id", "role", "version", "code", "reason", "time", "confidence", "num_prompt_tokens"),
    *("admission_id", "subgroups", "chapter_confidence", "num_calibration"),
)


def make(number: int, rng: random.Random) -> ServedPrediction:
    return ServedPrediction(
        id=f"p{number}", version=f"v{number // 500_000 + 1}", time=float(number),
        code=rng.choice(CODES), confidence=0.5, chapter_confidence=0.8, num_calibration=200,
        num_prompt_tokens=700,
    )  # fmt: skip


def keep_ours(folder: Path, rows: list[ServedPrediction]) -> float:
    log = PredictionLog(folder)
    begun = time.perf_counter()
    for row in rows:
        log.record(row)
    return len(rows) / (time.perf_counter() - begun)


def keep_plainly(folder: Path, rows: list[ServedPrediction]) -> float:
    file = sqlite3.connect(folder / "plain.sqlite", isolation_level=None)
    file.execute("PRAGMA journal_mode = WAL")
    file.execute("PRAGMA synchronous = NORMAL")
    file.execute(f"CREATE TABLE predictions ({', '.join(COLUMNS)}, UNIQUE (id, role))")
    insert = f"INSERT INTO predictions VALUES ({', '.join('?' * len(COLUMNS))})"
    begun = time.perf_counter()
    for row in rows:
        values = {**vars(row), "subgroups": "{}"}
        file.execute(insert, [values[name] for name in COLUMNS])
    return len(rows) / (time.perf_counter() - begun)


def time_windows(folder: Path, num: int) -> dict[str, float]:
    """Fill a log in one transaction, and compute."""
    log, rng = PredictionLog(folder, window=500), random.Random(1)
    log.record(make(num, rng))
    log.close()
    with sqlite3.connect(folder / FILE) as file:
        insert = f"INSERT INTO predictions ({', '.join(COLUMNS)}) VALUES ("
        rows = ({**vars(make(i, rng)), "subgroups": "{}"} for i in range(num))
        file.executemany(
            f"{insert}{', '.join('?' * len(COLUMNS))})",
            ([row[name] for name in COLUMNS] for row in rows),
        )
        labels = (
            (f"p{rng.randrange(num)}", rng.choice(CODES), 2.0 * num) for _ in range(num // 10)
        )
        file.executemany("INSERT INTO labels (id, code, time) VALUES (?, ?, ?)", labels)
    file.close()
    found: dict[str, float] = {}
    for name, work in (
        ("windows_s", log.windows), ("windows_again_s", log.windows),
        ("report_s", Monitor(log).report),
    ):  # fmt: skip
        begun = time.perf_counter()
        work()
        found[name] = round(time.perf_counter() - begun, 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--predictions", type=int, default=1_000_000)
    options = parser.parse_args()
    rng = random.Random(0)
    rows = [make(i, rng) for i in range(NUM_KEPT)]
    ours, plain = [], []
    for _ in range(options.repeats):
        for found, keep in ((ours, keep_ours), (plain, keep_plainly)):
            with tempfile.TemporaryDirectory(prefix="deepicd-bench-") as folder:
                found.append(keep(Path(folder), rows))
    rates = {"ours": statistics.median(ours), "plain": statistics.median(plain)}
    with tempfile.TemporaryDirectory(prefix="deepicd-bench-") as folder:
        seconds = time_windows(Path(folder), options.predictions)
    kept = {f"{name}_per_s": round(rate) for name, rate in rates.items()}
    print(
        json.dumps({**kept, "ratio": round(rates["ours"] / rates["plain"], 3), **seconds}, indent=2)
    )


if __name__ == "__main__":
    main()
