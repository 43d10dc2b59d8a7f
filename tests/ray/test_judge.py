"""A real vLLM as the judge: structured output, batching, and what happens when it is killed.

The judge is an untrained model, so its ratings mean nothing; that it rates at all is due to the
JSON schema that vLLM enforces.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from deepicd.answers import parse_answer
from deepicd.config import JudgeConfig, ModelConfig
from deepicd.rewards.judge import Judge, JudgeCounts, Judgement
from deepicd.rewards.judge_prompt import RUBRIC
from deepicd.training.start_model import build_model

NOTE = "Chest pain on effort for two weeks."
SIZES = ModelConfig(vocab_size=600, hidden_size=64, num_layers=1, num_heads=2)
ANSWERS = [parse_answer(f"pain of kind {i}</think><diagnosis>I20.9</diagnosis>") for i in range(12)]


@dataclass
class Judged:
    """What the judge said while vLLM ran, and after it was killed."""

    alive: list[Judgement]
    counts: JudgeCounts
    dead: list[Judgement]


def wait_until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/models", trust_env=False).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    raise AssertionError(log.read_text(errors="replace")[-3000:])


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judged]:
    folder = tmp_path_factory.mktemp("judge")
    build_model(SIZES, [RUBRIC, NOTE], folder / "model", seed=1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    options = [
        "--model",
        str(folder / "model"),
        "--served-model-name",
        "judge",
        "--port",
        str(port),
    ]
    engine = ["--host", "127.0.0.1", "--dtype", "float32", "--enforce-eager"]
    compact = [
        "--structured-outputs-config",
        '{"backend": "xgrammar", "disable_any_whitespace": true}',
    ]  # it would write blanks
    sizes = [*compact, "--max-model-len", "2048", "--kv-cache-memory-bytes", "100000000"]
    log, url = folder / "vllm.log", f"http://127.0.0.1:{port}/v1"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *options, *engine, *sizes],
            stdout=output,
            stderr=output,
            env={**os.environ, "VLLM_NO_USAGE_STATS": "1"},
            start_new_session=True,  # its engine is a process of its own
        )
    try:
        wait_until_up(url, process, log)
        settings = JudgeConfig(url=url, model="judge", max_retries=0, max_concurrent=4)
        yield asyncio.run(judge_then_kill(settings, process))
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """vLLM with the processes it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


async def judge_then_kill(settings: JudgeConfig, process: subprocess.Popen[bytes]) -> Judged:
    judge = Judge(settings)
    alive = await judge.judge_many([(answer, NOTE) for answer in ANSWERS])
    counts = JudgeCounts(**vars(judge.counts))
    kill(process)
    unseen = parse_answer("something else</think><diagnosis>I20.9</diagnosis>")
    dead = await judge.judge_many([(unseen, NOTE), (ANSWERS[0], NOTE)])
    await judge.close()
    return Judged(alive, counts, dead)


def test_every_answer_is_rated_by_the_schema(judged: Judged) -> None:
    assert {found.value for found in judged.alive} <= {0.0, 0.25, 0.5, 0.75, 1.0}
    assert judged.counts.num_asked == len(ANSWERS) and judged.counts.num_absent == 0
    assert judged.counts.prompt_tokens > judged.counts.completion_tokens > 0
    assert all(found.seconds > 0 for found in judged.alive)


def test_a_killed_judge_is_absent_and_what_it_said_before_is_still_known(judged: Judged) -> None:
    unseen, seen = judged.dead
    assert unseen.value is None
    assert seen.is_cached and seen.value == judged.alive[0].value
