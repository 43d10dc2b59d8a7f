"""The judge against an endpoint on loopback that does what a test tells it to: rate, fail, hang.

A real vLLM as the judge is in tests/ray/test_judge.py.
"""

import asyncio
import json
import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from deepicd.answers import parse_answer
from deepicd.config import JudgeConfig
from deepicd.errors import ConfigError, JudgeError
from deepicd.rewards.judge import Judge, Judgement
from deepicd.rewards.verl_entry import compute_judged_score, compute_score

NOTE = "Chief complaint: crushing substernal chest pain since this morning."
Reply = tuple[int, Any]


class Endpoint(ThreadingHTTPServer):
    """An endpoint whose reply to request number i is `script(i)`: status and rating or body."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: Callable[[int], Reply] = lambda i: (200, 4)
        self.delay_s = 0.0
        self.counts_tokens = True
        self.requests: list[dict[str, Any]] = []
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            number = len(self.server.requests)
            self.server.requests.append(body)
            self.server.in_flight += 1
            self.server.most_in_flight = max(self.server.in_flight, self.server.most_in_flight)
        time.sleep(self.server.delay_s)
        status, content = self.server.script(number)
        with self.server.lock:
            self.server.in_flight -= 1
        self.send_response(status)
        if status == 307:
            self.send_header("location", content)
        self.send_header("content-type", "application/json")
        self.end_headers()
        if status == 200:
            reply = completion(content)
            if not self.server.counts_tokens:
                del reply["usage"]
            self.wfile.write(json.dumps(reply).encode())

    def log_message(self, *_: object) -> None:
        """No lines on the screen."""


def completion(content: Any) -> dict[str, Any]:
    text = content if isinstance(content, str) else json.dumps({"rating": content})
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": text},
            }
        ],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010},
    }


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def settings_for(endpoint: Endpoint, **changes: Any) -> JudgeConfig:
    values = {"url": endpoint.url, "model": "m", "max_retries": 0, "timeout_s": 5.0}
    return JudgeConfig(**{**values, **changes})


def judge_all(settings: JudgeConfig, *texts: str) -> tuple[list[Judgement], Judge]:
    """Judge texts one after another with one judge."""

    async def work() -> tuple[list[Judgement], Judge]:
        judge = Judge(settings)
        found = [await judge.judge(parse_answer(text), NOTE) for text in texts]
        await judge.close()
        return found, judge

    return asyncio.run(work())


def texts(count: int) -> list[str]:
    return [f"reason {i}</think><diagnosis>I21.4</diagnosis>" for i in range(count)]


def dead_url() -> str:
    """An address on which nobody listens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        return f"http://127.0.0.1:{server.server_address[1]}/v1"


def test_an_answer_is_rated_counted_and_costed(endpoint):
    prices = {
        "price_per_million_prompt_tokens": 2.0,
        "price_per_million_completion_tokens": 10.0,
    }
    (found,), judge = judge_all(settings_for(endpoint, **prices), *texts(1))
    assert found.value == 0.75 and not found.is_cached and found.seconds > 0
    assert found.cost == pytest.approx(0.0021) == judge.counts.cost
    assert (judge.counts.num_asked, judge.counts.num_absent) == (1, 0)
    assert (judge.counts.prompt_tokens, judge.counts.completion_tokens) == (1000, 10)


def test_the_judge_sees_note_reasoning_and_code_with_its_title_and_no_gold(endpoint):
    judge_all(settings_for(endpoint), "chest pain</think><diagnosis>i21.4</diagnosis>")
    (request,) = endpoint.requests
    shown = request["messages"][1]["content"]
    assert NOTE in shown and "chest pain" in shown
    assert "I21.4 (Non-ST elevation (NSTEMI) myocardial infarction)" in shown
    assert request["response_format"]["type"] == "json_schema" and request["temperature"] == 0


@pytest.mark.parametrize("text", ["", "no tags", "</think><diagnosis>I21.4</diagnosis>"])
def test_what_cannot_be_judged_is_worth_nothing_and_asks_nothing(endpoint, text):
    (found,), _ = judge_all(settings_for(endpoint), text)
    assert found == Judgement(0.0) and not endpoint.requests


def test_the_same_answer_is_asked_once(endpoint, tmp_path):
    settings = settings_for(endpoint, cache=str(tmp_path / "folder" / "ratings.sqlite"))
    found, judge = judge_all(settings, *texts(1) * 3)
    assert [one.is_cached for one in found] == [False, True, True]
    assert judge.counts.num_cached == 2
    again, _ = judge_all(settings, *texts(1))
    assert again[0].value == found[0].value and len(endpoint.requests) == 1


def test_answers_that_are_asked_side_by_side_share_a_request_and_keep_their_order(endpoint):
    endpoint.delay_s = 0.05
    endpoint.script = lambda i: (
        200,
        1 + int(endpoint.requests[i]["messages"][1]["content"].split("reason ")[1][0]),
    )

    async def work() -> list[Judgement]:
        judge = Judge(settings_for(endpoint, max_concurrent=3))
        pairs = [(parse_answer(text), NOTE) for text in texts(5) * 2]
        return await judge.judge_many(pairs)

    values = [found.value for found in asyncio.run(work())]
    assert values == [0.0, 0.25, 0.5, 0.75, 1.0] * 2
    assert len(endpoint.requests) == 5 and endpoint.most_in_flight <= 3


def test_the_cache_holds_no_text(endpoint, tmp_path):
    path = tmp_path / "ratings.sqlite"
    judge_all(settings_for(endpoint, cache=str(path)), *texts(2))
    rows = sqlite3.connect(path).execute("SELECT * FROM ratings").fetchall()
    assert len(rows) == 2 and all(len(key) == 64 and value == 0.75 for key, value in rows)
    assert b"reason" not in path.read_bytes() and b"chest" not in path.read_bytes()


def test_a_file_that_is_no_cache_is_refused(endpoint, tmp_path):
    (tmp_path / "notes.txt").write_text("not a database, but long enough to look like one" * 50)
    with pytest.raises(JudgeError, match=r"notes\.txt cannot be used as a cache"):
        judge_all(settings_for(endpoint, cache=str(tmp_path / "notes.txt")))


def test_a_short_failure_is_asked_again(endpoint):
    endpoint.script = lambda i: (503, None) if i == 0 else (200, 5)
    (found,), judge = judge_all(settings_for(endpoint, max_retries=1), *texts(1))
    assert found.value == 1.0 and len(endpoint.requests) == 2 and judge.counts.num_absent == 0


def test_a_reply_without_a_rating_is_absent_and_not_kept(endpoint):
    endpoint.script = lambda i: (200, "very good" if i == 0 else 3)
    first, second = judge_all(settings_for(endpoint), *texts(1) * 2)[0]
    assert first.value is None and second.value == 0.5


def test_a_slow_endpoint_is_absent(endpoint):
    endpoint.delay_s = 1.0
    (found,), judge = judge_all(settings_for(endpoint, timeout_s=0.1), *texts(1))
    assert found.value is None and judge.counts.num_absent == 1


def test_after_failures_in_a_row_nothing_is_asked_for_a_while(endpoint):
    endpoint.script = lambda i: (500, None)
    found, judge = judge_all(settings_for(endpoint, max_failures=2, pause_s=60.0), *texts(6))
    assert [one.value for one in found] == [None] * 6
    assert len(endpoint.requests) == 2 and judge.counts.num_absent == 6


def test_after_the_pause_it_is_asked_again(endpoint):
    endpoint.script = lambda i: (500, None) if i == 0 else (200, 5)
    found, _ = judge_all(settings_for(endpoint, max_failures=1, pause_s=0.0), *texts(2))
    assert [one.value for one in found] == [None, 1.0]


def test_a_judge_that_must_answer_stops_the_run():
    settings = JudgeConfig(url=dead_url(), model="m", max_retries=0, when_down="stop")
    with pytest.raises(JudgeError, match=r"gave no rating \(APIConnectionError\).*Start it"):
        judge_all(settings, *texts(1))


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_model_is_configuration(endpoint, status):
    endpoint.script = lambda i: (status, None)
    with pytest.raises(ConfigError, match=r"refuses model 'm' or the key in DEEPICD_JUDGE_KEY"):
        judge_all(settings_for(endpoint), *texts(1))


def test_the_client_logs_no_request_whatever_the_environment_asks(endpoint):
    logging.getLogger("openai").setLevel(logging.DEBUG)
    Judge(settings_for(endpoint))
    assert not logging.getLogger("openai").isEnabledFor(logging.INFO)


def test_a_redirect_takes_no_note_to_another_host(endpoint):
    other = Endpoint()
    threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
    endpoint.script = lambda i: (307, f"{other.url}/chat/completions")
    (found,), _ = judge_all(settings_for(endpoint), *texts(1))
    other.shutdown()
    assert found.value is None and not other.requests


def test_a_proxy_of_the_environment_sees_no_note(endpoint, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", dead_url())
    monkeypatch.setenv("ALL_PROXY", dead_url())
    assert judge_all(settings_for(endpoint), *texts(1))[0][0].value == 0.75


def test_the_log_says_how_many_are_missing_and_no_text(endpoint, caplog):
    endpoint.script = lambda i: (500, None)
    with caplog.at_level(logging.DEBUG, logger="deepicd"):
        judge_all(settings_for(endpoint, pause_s=0.0), *texts(4))
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3 and "4 answers without a rating" in lines[-1]
    assert not any("reason" in line or "chest" in line for line in lines)


def test_an_endpoint_that_counts_no_tokens_costs_nothing(endpoint):
    endpoint.counts_tokens = False
    (found,), judge = judge_all(
        settings_for(endpoint, price_per_million_prompt_tokens=2.0), *texts(1)
    )
    assert found.value == 0.75 and found.cost == 0.0 == judge.counts.cost


async def score(endpoint: Endpoint) -> dict[str, Any]:
    return await compute_judged_score(
        "notes",
        "chest pain</think><diagnosis>I21.4</diagnosis>",
        "I214",
        {"note": NOTE, "note_id": "1-DS-1", "patient_id": "1"},
        preset="strict",
        weights={"judge": 1.0},
        judge=settings_for(endpoint).model_dump(mode="json"),
    )


def entry(endpoint: Endpoint) -> dict[str, Any]:
    return asyncio.run(score(endpoint))


def test_the_judge_is_kept_between_the_answers_of_a_loop(endpoint):
    async def twice() -> list[dict[str, Any]]:
        return [await score(endpoint), await score(endpoint)]

    first, second = asyncio.run(twice())
    assert (first["judge_cached"], second["judge_cached"]) == (0.0, 1.0)
    assert len(endpoint.requests) == 1


def test_verl_gets_the_judge_as_one_more_column(endpoint):
    row = entry(endpoint)
    assert row["score"] == pytest.approx(1.75)
    assert (row["reward_judge"], row["weighted_judge"], row["judge_absent"]) == (0.75, 0.75, 0.0)
    assert row["judge_seconds"] > 0 and row["note_id"] == "1-DS-1"


def test_verl_gets_an_absent_judge_as_absent_and_the_same_columns(endpoint):
    endpoint.script = lambda i: (500, None)
    row, whole = entry(endpoint), entry_columns()
    assert math.isnan(row["reward_judge"]) and row["judge_absent"] == 1.0
    assert row["score"] == pytest.approx(2.0)
    assert row.keys() == whole


def entry_columns() -> set[str]:
    plain = compute_score("notes", "x", "I214", {}, preset="strict")
    judge = {"reward_judge", "weighted_judge"}
    return {*plain, *judge, "judge_absent", "judge_cached", "judge_seconds", "judge_cost"}
