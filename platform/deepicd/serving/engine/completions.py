"""Prompt token ids → answers of vLLM's engine, free or constrained to end in a billable code.

In: token ids of one prompt. Out: `Completed` answers. Decided here: a constrained answer is made in
two steps. First the reasoning, which may hold anything but `<` and leaves tokens for the code; then
the code, drawn under a grammar of all billable codes and nothing else. So a note can change what is
said, and never the form of the answer, and an answer that would have run into the token limit still
names a code.
"""

import asyncio
import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from deepicd import codes
from deepicd.serving.protocol import CODE_TOKENS
from deepicd.serving.settings import ServingSettings

_THINK_END, _OPEN, _CLOSE = "</think>", "\n<diagnosis>", "</diagnosis>"
_REASONING = r"[^<]*</think>"
_PROBE_TOKENS = 4


@dataclass(frozen=True)
class Completed:
    """One answer, after the `<think>` prefill."""

    text: str
    num_tokens: int
    """Tokens that the engine generated for it."""
    is_truncated: bool
    """It, or its reasoning, ran into the token limit."""


class AnswerGenerator:
    """Makes answers with one engine of vLLM."""

    def __init__(self, client: Any, model: Path, settings: ServingSettings) -> None:
        self._client = client
        self._settings = settings
        self._tokeniser = Tokenizer.from_file(str(model / "tokenizer.json"))

    async def complete(
        self, ids: Sequence[int], *, num_samples: int, temperature: float
    ) -> list[Completed]:
        """Answers as the model gives them."""
        options = {"n": num_samples, "max_tokens": self._settings.limits.max_response_tokens}
        return await self._ask(ids, temperature, **options) if num_samples else []

    async def is_sound(self, ids: Sequence[int]) -> bool:
        """Whether the log-probabilities of a short answer are finite: NaN weights answer too."""
        from vllm import SamplingParams

        # 0 asks for the drawn token's own log-probability and for no alternatives.
        parameters = SamplingParams(temperature=0.0, max_tokens=_PROBE_TOKENS, logprobs=0)
        log_probabilities: list[float] = []
        prompt = {"prompt_token_ids": list(ids)}
        async for output in self._client.generate(prompt, parameters, uuid.uuid4().hex):
            steps = output.outputs[0].logprobs or ()
            log_probabilities = [token.logprob for step in steps for token in step.values()]
        return bool(log_probabilities) and all(map(math.isfinite, log_probabilities))

    async def complete_constrained(
        self, ids: Sequence[int], *, num_samples: int, temperature: float
    ) -> list[Completed]:
        """Answers whose reasoning is free and whose code exists."""
        if not num_samples:
            return []
        # Room for the tag and for the code, which come after the reasoning.
        max_tokens = self._settings.limits.max_response_tokens - 2 * CODE_TOKENS
        reasoned = await self._ask(
            ids,
            temperature,
            n=num_samples,
            max_tokens=max_tokens,
            structured_outputs=_grammar(_REASONING),
        )
        ended = (self._name_code(ids, completed, temperature) for completed in reasoned)
        return list(await asyncio.gather(*ended))

    async def _name_code(
        self, ids: Sequence[int], reasoned: Completed, temperature: float
    ) -> Completed:
        # Reasoning that ran into its limit has no end tag; every other one has it already.
        text = reasoned.text.removesuffix(_THINK_END) + _THINK_END + _OPEN
        # The prompt's own ids, and not its text again: it was encoded, and perhaps cut, by
        # `prompts`.
        shown = [*ids, *self._tokeniser.encode(text, add_special_tokens=False).ids]
        grammar = _grammar(codes.billable_pattern() + _CLOSE)
        (code,) = await self._ask(
            shown, temperature, n=1, max_tokens=CODE_TOKENS, structured_outputs=grammar
        )
        return Completed(
            text + code.text, reasoned.num_tokens + code.num_tokens, reasoned.is_truncated
        )

    async def _ask(self, ids: Sequence[int], temperature: float, **options: Any) -> list[Completed]:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        parameters = SamplingParams(
            temperature=temperature,
            seed=self._settings.seed,
            output_kind=RequestOutputKind.FINAL_ONLY,  # one message an answer, not one a token
            **options,
        )
        outputs: Sequence[Any] = ()
        prompt = {"prompt_token_ids": list(ids)}
        async for output in self._client.generate(prompt, parameters, uuid.uuid4().hex):
            outputs = output.outputs
        return [
            Completed(answer.text, len(answer.token_ids), answer.finish_reason == "length")
            for answer in outputs
        ]


def _grammar(regex: str) -> Any:
    from vllm.sampling_params import StructuredOutputsParams

    return StructuredOutputsParams(regex=regex)
