"""Start-up and throughput of the light rooms on this machine, as one JSON object.

Numbers to compare on one machine before and after a change; no test depends on them.
"""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable

from deepicd.answers import parse_answer
from deepicd.records import Prediction
from deepicd.rewards import build_reward
from deepicd.scoring import score_predictions

GOLD = ("I2510", "I214", "J189", "N179", "K8020", "E1165", "A419", "S72001A")
ANSWER = "chest pain on exertion, troponin negative</think>\n<diagnosis>I25.10</diagnosis>"


def seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Shortest of some runs, in seconds: the one that the rest of the machine disturbed least."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def start(*arguments: str) -> Callable[[], object]:
    """A process that starts and ends."""
    return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def measure() -> dict[str, float]:
    """Every figure; names end in their unit."""
    draw = random.Random(1)
    reward = build_reward("default", {})
    answer = parse_answer(ANSWER)
    predictions = [
        Prediction(f"n{i}", f"p{i}", draw.choice(GOLD), draw.choice(GOLD)) for i in range(1000)
    ]
    return {
        "python_start_s": seconds(start("-c", "pass")),
        "help_s": seconds(start("-m", "deepicd", "--help")),
        "answers_per_s": 1000 / seconds(lambda: [parse_answer(ANSWER) for _ in range(1000)]),
        "rewards_per_s": 1000 / seconds(lambda: [reward(answer, "I214") for _ in range(1000)]),
        "score_1000_s": seconds(lambda: score_predictions(predictions)),
        "bootstrap_1000x1000_s": seconds(
            lambda: score_predictions(predictions, num_bootstrap=1000), repeats=1
        ),
    }


if __name__ == "__main__":
    print(json.dumps({name: round(value, 4) for name, value in measure().items()}, indent=2))
