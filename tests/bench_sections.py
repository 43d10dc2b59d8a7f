"""Section reader on composed summaries: leak and loss rates with intervals, time per note, JSON.

python tests/bench_sections.py [--notes N] [--other FILE] [--show K]

`--other` names another module with `cut_sections` (such as an earlier `sections.py`), measured side
by side on the same notes. A leak is a word of the stay in the note; a section is lost where its
text is not exactly what the summary says. Intervals are Wilson's, 95%.
"""

import argparse
import importlib.util
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from types import ModuleType

from deepicd.notes.mimic import sections

Cutter = Callable[[str], Mapping[str, str]]


def load_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def interval(count: int, total: int) -> list[float]:
    z = 1.96
    share = count / total
    middle = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    low, high = ((middle + sign * spread) / (1 + z * z / total) for sign in (-1, 1))
    return [round(max(0.0, low), 8), round(high, 8)]


def measure(cut: Cutter, num_notes: int, num_shown: int) -> dict[str, object]:
    composed = load_file(Path(__file__).with_name("composed_notes.py"))
    leaks = lost = wanted = 0
    for seed in range(num_notes):
        note = composed.compose(Random(seed))
        got = cut(note.text)
        has_leak = "stay" in " ".join(got.values()).replace("a former stay", "")
        missing = [name for name, text in note.wanted.items() if got.get(name) != text]
        leaks += has_leak
        lost += len(missing)
        wanted += len(note.wanted)
        if (has_leak or missing) and num_shown > 0:
            num_shown -= 1
            print(json.dumps([seed, has_leak, missing, note.text, note.wanted, got], indent=1))
    return {
        "notes": num_notes,
        "leaks": leaks,
        "leak_rate": leaks / num_notes,
        "leak_interval": interval(leaks, num_notes),
        "sections": wanted,
        "lost": lost,
        "loss_rate": lost / wanted,
        "loss_interval": interval(lost, wanted),
    }


def compare_times(cutters: Mapping[str, Cutter], num_notes: int) -> dict[str, float]:
    """Median milliseconds of CPU a note, of 5 turns each, the cutters by turns."""
    composed = load_file(Path(__file__).with_name("composed_notes.py"))
    texts = [composed.compose(Random(-seed)).text for seed in range(1, num_notes + 1)]
    turns: dict[str, list[float]] = {name: [] for name in cutters}
    for _ in range(5):
        for name, cut in cutters.items():
            start = time.process_time()
            for text in texts:
                cut(text)
            turns[name].append((time.process_time() - start) / len(texts) * 1e3)
    return {name: round(statistics.median(times), 4) for name, times in turns.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--notes", type=int, default=2000)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--show", type=int, default=0, help="Print the first K wrong notes.")
    parser.add_argument("--json", action="store_true", help="Accepted for the other benchmarks.")
    arguments = parser.parse_args()
    cutters: dict[str, Cutter] = {"now": sections.cut_sections}
    if arguments.other:
        cutters["other"] = load_file(arguments.other).cut_sections
    rates = {name: measure(cut, arguments.notes, arguments.show) for name, cut in cutters.items()}
    times = compare_times(cutters, min(arguments.notes, 2000))
    print(json.dumps({"rates": rates, "ms_per_note": times}, indent=2))


if __name__ == "__main__":
    main()
