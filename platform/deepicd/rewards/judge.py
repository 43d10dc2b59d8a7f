"""The judge: an LLM behind an OpenAI-compatible endpoint that rates answers.

In: answers and their notes. Out: `Judgement`s, whose value is None when there is no rating. An
endpoint that is down, slow or replies with something else makes the component *absent*, counted
and logged without any text; it is never a score of 0. After some failures in a row nothing is asked
for a while, so that training does not wait for time-outs. A key that is refused, or a model that
does not exist, is a fault of the configuration and raises.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepicd.chat_endpoint import cost_of, open_client, refusals
from deepicd.config import JudgeConfig
from deepicd.errors import ConfigError, JudgeError
from deepicd.records import Answer
from deepicd.rewards.judge_prompt import (
    RESPONSE_FORMAT,
    content_hash,
    is_judgeable,
    judge_messages,
    read_rating,
)

_log = logging.getLogger(__name__)
_MAX_REPLY_TOKENS = 32
_SEED = 1


@dataclass(frozen=True)
class Judgement:
    """The rating of one answer, or its absence."""

    value: float | None
    """In [0, 1]; None when the judge gave no rating."""
    is_cached: bool = False
    """True when nothing was asked."""
    seconds: float = 0.0
    """From request to reply, retries included; 0 when nothing was asked."""
    cost: float = 0.0
    """By the prices of the configuration."""


@dataclass
class JudgeCounts:
    """Requests, ratings and costs of a judge since it was made."""

    num_asked: int = 0
    num_cached: int = 0
    num_absent: int = 0
    """Answers without a rating: request failed, reply malformed, or not asked in a pause."""
    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0


class Judge:
    """An asynchronous judge; belongs to the event loop that first uses it."""

    def __init__(self, settings: JudgeConfig) -> None:
        """Open the cache and the client; nothing is sent.

        Raises:
            ConfigError: the settings name no endpoint.
            JudgeError: the cache cannot be opened.
        """
        if not settings.url:
            raise ConfigError(
                "the reward component 'judge' needs rewards.judge.url and rewards.judge.model"
            )
        self.counts = JudgeCounts()
        self._settings = settings
        self._cache = _RatingCache(settings.cache)
        self._limit = asyncio.Semaphore(settings.max_concurrent)
        self._pending: dict[str, asyncio.Future[Judgement]] = {}
        self._failures = 0
        self._pause_ends = 0.0
        self._client = open_client(settings)

    async def judge(self, answer: Answer, note: str) -> Judgement:
        """Rate one answer. One with no code or no reasoning is 0 and costs nothing.

        Raises:
            ConfigError: the endpoint refuses the key or does not know the model.
            JudgeError: no rating, and `when_down` is `stop`.
        """
        if not is_judgeable(answer):
            return Judgement(0.0)
        messages = judge_messages(
            answer, note, max_note_characters=self._settings.max_note_characters
        )
        key = content_hash(self._settings.model, messages)
        rating = self._cache.get(key)
        if rating is not None:
            self.counts.num_cached += 1
            return Judgement(rating, is_cached=True)
        if key in self._pending:  # the same answer of the same group: one request for all
            # Shielded: one waiter that is cancelled must not cancel the result of all.
            shared = await asyncio.shield(self._pending[key])
            self.counts.num_cached += 1
            return Judgement(shared.value, is_cached=True)
        future = asyncio.get_running_loop().create_future()
        self._pending[key] = future
        judgement = Judgement(None)
        try:
            judgement = await self._ask(messages)
            if judgement.value is not None:
                self._cache.put(key, judgement.value)
        finally:  # whoever waits for the same answer must not wait for ever
            del self._pending[key]
            future.set_result(judgement)
        return judgement

    async def judge_many(self, answers: Sequence[tuple[Answer, str]]) -> list[Judgement]:
        """Rate (answer, note) pairs side by side; the result has their order."""
        return list(await asyncio.gather(*(self.judge(answer, note) for answer, note in answers)))

    async def close(self) -> None:
        """Close connections and cache."""
        await self._client.close()
        self._cache.close()

    async def _ask(self, messages: list[dict[str, str]]) -> Judgement:
        async with self._limit:
            # Inside the limit: who waited for a turn must see a pause that began meanwhile.
            if time.monotonic() < self._pause_ends:
                return self._absent("pause after failures", 0.0)
            started = time.monotonic()
            failure, completion = await self._request(messages)
            seconds = time.monotonic() - started
        self.counts.num_asked += 1
        self.counts.seconds += seconds
        if failure:
            self._fail()
            return self._absent(failure, seconds)
        self._failures = 0
        # Before the rating is read: a malformed reply is paid for too.
        cost = self._count_tokens(completion)
        value = read_rating(completion.choices[0].message.content if completion.choices else None)
        if value is None:
            return self._absent("a reply that is not the JSON asked for", seconds)
        return Judgement(value, seconds=seconds, cost=cost)

    async def _request(self, messages: list[dict[str, str]]) -> tuple[str, Any]:
        """Name of the failure's class (empty without one), and the completion."""
        import openai

        turns: Any = messages
        structured: Any = RESPONSE_FORMAT
        try:
            completion = await self._client.chat.completions.create(
                model=self._settings.model,
                messages=turns,
                temperature=0,
                seed=_SEED,
                max_tokens=_MAX_REPLY_TOKENS,
                response_format=structured,
            )
        except refusals() as error:
            raise ConfigError(
                f"the judge at {self._settings.url} refuses model {self._settings.model!r} or the "
                f"key in {self._settings.api_key_variable} ({type(error).__name__}). Set "
                "rewards.judge.model to a model it serves, and the key where it asks for one"
            ) from None
        except openai.OpenAIError as error:
            return type(error).__name__, None
        return "", completion

    def _fail(self) -> None:
        self._failures += 1
        if self._failures >= self._settings.max_failures:
            self._pause_ends = time.monotonic() + self._settings.pause_s

    def _absent(self, cause: str, seconds: float) -> Judgement:
        """No rating: raise, or go on without, as the settings say."""
        self.counts.num_absent += 1
        if self._settings.when_down == "stop":
            raise JudgeError(
                f"the judge at {self._settings.url} gave no rating ({cause}) and "
                "rewards.judge.when_down is 'stop'. Start it, raise rewards.judge.timeout_s, or "
                "set when_down = 'absent' to train on without this component"
            )
        if self.counts.num_absent.bit_count() == 1:  # the 1st, 2nd, 4th, 8th …
            _log.warning(
                "judge at %s: %d answers without a rating so far; last cause: %s",
                self._settings.url,
                self.counts.num_absent,
                cause,
            )
        return Judgement(None, seconds=seconds)

    def _count_tokens(self, completion: Any) -> float:
        usage = completion.usage
        if usage is None:
            return 0.0
        cost = cost_of(
            self._settings,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
        )
        self.counts.prompt_tokens += usage.prompt_tokens
        self.counts.completion_tokens += usage.completion_tokens
        self.counts.cost += cost
        return float(cost)


class _RatingCache:
    """Ratings by content hash, in memory or in an SQLite file that workers share; no text."""

    def __init__(self, path: Path | None) -> None:
        """Open or create it; None keeps it in memory.

        Raises:
            JudgeError: the file cannot be opened as a cache.
        """
        try:
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
            # Every statement commits itself, so that other workers see a rating at once.
            self._connection = sqlite3.connect(path or ":memory:", timeout=30, isolation_level=None)
            with closing(self._connection.cursor()) as cursor:
                cursor.execute(
                    "CREATE TABLE IF NOT EXISTS ratings (hash TEXT PRIMARY KEY, value REAL)"
                )
        except (OSError, sqlite3.Error) as error:
            raise JudgeError(
                f"rewards.judge.cache: {path} cannot be used as a cache ({error}). Name a file in "
                "a folder that can be written, or leave it out"
            ) from error

    def get(self, key: str) -> float | None:
        """The rating's value, if there is one."""
        row = self._connection.execute(
            "SELECT value FROM ratings WHERE hash = ?", (key,)
        ).fetchone()
        return None if row is None else float(row[0])

    def put(self, key: str, value: float) -> None:
        """Keep a rating; one that is there stays."""
        self._connection.execute("INSERT OR IGNORE INTO ratings VALUES (?, ?)", (key, value))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
