"""Answers per second on one core: presets through verl's entry, the release written plainly.

python tests/bench_rewards.py [--json]
"""

import argparse
import json
import re
import time
from collections.abc import Callable

from deepicd.rewards import PRESETS
from deepicd.rewards.verl_entry import compute_score

NUM_ANSWERS = 20_000
GOLD = "I2510"
THINK = (
    "Exertional substernal pressure relieved by rest, prior stenting and anterior ischemia on the"
    " stress test; fever and cough are denied. Risk factors are tobacco and hyperlipidemia. "
)
CODES = ("I25.10", "I25.2", "I21.4", "J18.9", "I25.99", "I25", "chest pain")
NOTE = "CHIEF COMPLAINT: chest pressure. " + " ".join(f"finding{i} pressure" for i in range(400))
ANSWERS = [f"{THINK}Case {i}.</think>\n<diagnosis>{CODES[i % 7]}</diagnosis>" for i in range(256)]

_PAIRS = re.compile(
    r"^\s*(?:<think>([^<]*(?:<(?!/?think>)[^<]*)*)</think>)?\s*"
    r"<diagnosis>([^<]*(?:<(?!/?diagnosis>)[^<]*)*)</diagnosis>",
    re.MULTILINE,
)
_CODE = re.compile(r"^[A-Z][0-9]{2}[A-Z0-9]{0,4}$")


def score_plainly(text: str, gold: str) -> float:
    """The released semantics, as one would write them down first."""
    pairs = _PAIRS.findall("<think>" + text)
    total = 0.0 if text else -5.0
    if not pairs:
        return total - 1.0
    think, diagnosis = pairs[0]
    total += (1.0 if think else 0.0) - (len(pairs) - 1)
    code = diagnosis.strip().replace(".", "")
    if not _CODE.match(code) or code[0] != gold[0]:
        return total - 1.0
    if code == gold:
        return total + 15.0 * len(gold)
    overlap = 0
    while overlap < min(len(code), len(gold)) and code[overlap] == gold[overlap]:
        overlap += 1
    return total + 15.0 * (overlap / len(gold) + (overlap - 2 if overlap >= 3 else 0))


def measure(score: Callable[[str], object]) -> float:
    """Answers per CPU second, best of three."""
    score(ANSWERS[0])
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        for i in range(NUM_ANSWERS):
            score(ANSWERS[i % len(ANSWERS)])
        best = min(best, time.process_time() - start)
    return NUM_ANSWERS / best


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Benchmark the rewards.")
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    plain = measure(lambda text: score_plainly(text, GOLD))
    result = {"released semantics, plainly": plain}
    for preset in PRESETS:
        result[preset] = measure(lambda t, p=preset: compute_score("d", t, GOLD, preset=p))
    info = {"note": NOTE}
    result["default, with the note"] = measure(lambda t: compute_score("d", t, GOLD, info))
    if as_json:
        print(json.dumps({"answers_per_s": result}))
        return
    for name, rate in result.items():
        print(f"{name:30} {rate:10,.0f} answers/s   {rate / plain:6.2f} x plain")


if __name__ == "__main__":
    main()
