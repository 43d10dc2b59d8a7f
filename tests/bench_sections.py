"""Section reader: leak and loss rates on composed summaries, time per note on six kinds, JSON.

python tests/bench_sections.py [--notes N] [--before COMMIT] [--show K]

`--before` names a commit whose reader is measured side by side on the same notes: 5106e4e has the
last one before the grammar. A leak is a word of the stay in the note; a section is lost where its
text is not exactly what the summary says. Intervals are Wilson's, 95%. Times are CPU, medians of
some turns, the readers by turns; every turn has notes of its own, so that no reader has seen them.
"""

import argparse
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from types import ModuleType

from deepicd.notes.corpus import sampling
from deepicd.notes.corpus.mimic_tables import write_summaries
from deepicd.notes.corpus.profiles import load_knowledge
from deepicd.notes.mimic import sections

Cutter = Callable[[str], Mapping[str, str]]

NUM_TURNS = 5
NUM_CHARACTERS = 10_000
WIDTH = 72
SUMMARIES = Path(__file__).parent / "unit/notes/data/ten_summaries.json"
WORDS = """worsening shortness breath orthopnea weeks denied fever chills reported furosemide daily
regular rhythm soft murmur apex radiating axilla comfortable able speak full sentences lying flat
dyspnea cough sputum abdomen tender swelling edema numbness vision pressure warfarin stable
clinic nurse father denies intermittent exertion rest relief nausea vomiting appetite weight loss
ambulates walker bilateral lower extremity left right chronic kidney disease baseline creatinine
ischemic cardiomyopathy reduced ejection fraction pacemaker hypertension hyperlipidemia diabetes"""
LINES = (
    "In the ED, initial vitals were {n} 88 120/80 18 97% RA and labs were notable for BNP {n}",
    "Mr. ___ was discharged from rehab last week, Dr. ___ of cardiology was called at {n}",
    "Cardiac: {words}, {n}",
    "- Extremities: {words}, {n}+ edema",
    "{n}. Metoprolol Succinate XL {n} mg PO DAILY",
    "___ 07:15AM BLOOD WBC-9.{n} RBC-3.95* Hgb-12.{n}* Hct-37.4 MCV-95 Plt ___",
    "CXR PA and lateral showed no acute process; CT HEAD negative, EKG: sinus at {n}",
)
"""Written like lines of real summaries; none comes twice."""


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


def compose_texts(num_notes: int, seed: int) -> list[str]:
    composed = load_file(Path(__file__).with_name("composed_notes.py"))
    return [composed.compose(Random(f"{seed} {number}")).text for number in range(num_notes)]


def write_corpus(num_notes: int, seed: int) -> list[str]:
    knowledge = load_knowledge()
    drawn = sampling.sample_admissions(sampling.build_model(knowledge), num_notes, seed=seed)
    worded = write_summaries(knowledge, drawn, splits=["train"] * num_notes, seed=seed)
    return [one.text for one in worded]


def repeat_lines(text: str) -> str:
    """The text with each line several times, so that it has the length of MIMIC-IV's."""
    times = max(1, NUM_CHARACTERS // len(text))
    return "\n".join(line for line in text.splitlines() for _ in range(times))


def load_summaries() -> list[str]:
    return [str(case["text"]) for case in json.loads(SUMMARIES.read_text())]


def fill(text: str, rng: Random, templates: Sequence[str]) -> str:
    """The headers of a summary, with new lines in each section."""

    def write() -> str:
        words = " ".join(rng.sample(WORDS.split(), 9))
        return rng.choice(templates).format(n=rng.randrange(10**4), words=words)

    def lines() -> Iterator[str]:
        for line in text.splitlines():
            yield line
            if line.strip() and not line.strip().endswith(":"):
                for _ in range(3):
                    yield from textwrap.wrap(write(), WIDTH)

    return "\n".join(lines())


def fill_all(num_notes: int, seed: int, templates: Sequence[str]) -> list[str]:
    rng, summaries = Random(seed), load_summaries()
    return [fill(rng.choice(summaries), rng, templates) for _ in range(num_notes)]


SENTENCE = ("The patient has {words} since {n} {words}", "{words} {words}, {n} {words}")
KINDS: dict[str, Callable[[int, int], list[str]]] = {
    "embedded corpus": write_corpus,
    "ten invented summaries": lambda number, seed: (load_summaries() * number)[:number],
    "10 kB, lines repeat": lambda number, seed: list(map(repeat_lines, write_corpus(number, seed))),
    "prose, no line repeats": lambda number, seed: fill_all(number, seed, SENTENCE),
    "prose, labs, lists, no line repeats": lambda number, seed: fill_all(
        number, seed, (*SENTENCE, *LINES)
    ),
    "composed": compose_texts,
}
"""Kind → summaries, by number and seed."""


def compare_times(cutters: Mapping[str, Cutter], num_notes: int) -> dict[str, dict[str, float]]:
    """By kind: milliseconds of CPU a note, medians; their ratio where there are two readers."""
    times = {}
    for kind, make in KINDS.items():
        turns: dict[str, list[float]] = {name: [] for name in cutters}
        for turn in range(NUM_TURNS):
            texts = make(num_notes, turn)
            for name, cut in cutters.items():
                start = time.process_time()
                for text in texts:
                    cut(text)
                turns[name].append((time.process_time() - start) / len(texts) * 1e3)
        medians = {name: statistics.median(spent) for name, spent in turns.items()}
        if "before" in medians:
            medians["ratio"] = medians["now"] / medians["before"]
        times[kind] = {name: round(value, 3) for name, value in medians.items()}
    return times


def load_before(commit: str) -> Cutter:
    """The reader of an earlier commit of this repository."""
    path = f"{commit}:platform/deepicd/notes/sections.py"
    source = subprocess.run(["git", "show", path], check=True, capture_output=True, text=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sections_before.py"
        file.write_text(source.stdout)
        cut: Cutter = load_file(file).cut_sections
    return cut


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--notes", type=int, default=2000)
    parser.add_argument("--timed", type=int, default=400, help="Notes of a turn; 0 for no times.")
    parser.add_argument("--before", metavar="COMMIT")
    parser.add_argument("--show", type=int, default=0, help="Print the first K wrong notes.")
    parser.add_argument("--json", action="store_true", help="Accepted for the other benchmarks.")
    arguments = parser.parse_args()
    cutters: dict[str, Cutter] = {"now": sections.cut_sections}
    if arguments.before:
        cutters["before"] = load_before(arguments.before)
    rates = {name: measure(cut, arguments.notes, arguments.show) for name, cut in cutters.items()}
    times = compare_times(cutters, arguments.timed) if arguments.timed else {}
    outcome = {
        "rates": rates,
        "ms_per_note": times,
        "load": [round(load, 1) for load in os.getloadavg()],
    }
    print(json.dumps(outcome, indent=2))


if __name__ == "__main__":
    main()
