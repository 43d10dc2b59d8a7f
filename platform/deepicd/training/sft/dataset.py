"""verl's SFT dataset: reasoning traces as token ids and loss mask, from the one renderer.

In: traces (Parquet; `note_id`, `response`) and the notes they belong to (Parquet; `note_id`,
`text`). Out: rows of `input_ids`, `position_ids` and `loss_mask` (1 on the response and its end of
turn, 0 on the prompt, prefill included), int64, length prompt + response. The prompt's ids are
those of rollouts and serving, over-long notes cut or left out by the same rule; a trace whose
response is over-long is left out and counted.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch.utils.data import Dataset

from deepicd.errors import DataError
from deepicd.prompts import END_OF_TURN, PromptEncoder
from deepicd.records import Limits

Sample = dict[str, torch.Tensor]


class TraceDataset(Dataset):
    """All traces, tokenised at once; verl constructs it by `data.custom_cls`."""

    def __init__(
        self,
        *,
        parquet_files: str | Sequence[str],
        tokenizer: Any,
        config: Any,
        # verl passes it; only a model that sees pictures has one.
        processor: Any = None,
        max_samples: int = -1,
    ) -> None:
        files = [parquet_files] if isinstance(parquet_files, str) else list(parquet_files)
        texts = _read_texts(Path(config.notes_file))
        pairs = [pair for file in files for pair in _read_pairs(Path(file), texts)]
        pairs = pairs[:max_samples] if max_samples > 0 else pairs
        limits = Limits(
            int(config.max_prompt_tokens), int(config.max_trace_tokens), config.overlong
        )
        # verl hands over its tokeniser, which knows the folder that it came from.
        encoder = PromptEncoder.of_model(Path(tokenizer.name_or_path), limits)
        longest = limits.max_response_tokens
        self._samples = list(_encode_traces(pairs, tokenizer, encoder, max_response_tokens=longest))
        self._check(len(pairs), int(config.train_batch_size))

    def _check(self, num_traces: int, batch_size: int) -> None:
        num_left_out = num_traces - len(self._samples)
        if num_left_out:
            logging.getLogger(__name__).warning(
                "%d of %d traces are over-long and left out", num_left_out, num_traces
            )
        if len(self._samples) < batch_size:
            raise DataError(
                f"{len(self._samples)} of {num_traces} traces fit into the token limits, fewer "
                f"than sft.batch_size = {batch_size}. Lower the batch, raise sft.max_trace_tokens "
                "or data.max_prompt_tokens, or take more traces."
            )

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return self._samples[index]


def _encode_traces(
    pairs: Sequence[tuple[str, str]],
    tokenizer: Any,
    encoder: PromptEncoder,
    *,
    max_response_tokens: int,
) -> Iterator[Sample]:
    """Samples of (note text, response) pairs; a note without a prompt and a response beyond the
    limit are left out.
    """
    encoded = encoder.encode([text for text, _ in pairs])
    for (_, response), prompt in zip(pairs, encoded, strict=True):
        # Apart from the prompt, as in a rollout, where the answer is generated after its ids.
        answer = tokenizer(response + END_OF_TURN, add_special_tokens=False)["input_ids"]
        if prompt.token_ids is not None and len(answer) <= max_response_tokens:
            yield _make_sample(prompt.token_ids, answer)


def _make_sample(prompt: Sequence[int], answer: Sequence[int]) -> Sample:
    """One row: loss falls on the answer alone."""
    length = len(prompt) + len(answer)
    return {
        "input_ids": torch.tensor([*prompt, *answer], dtype=torch.int64),
        "position_ids": torch.arange(length, dtype=torch.int64),
        "loss_mask": torch.tensor([0] * len(prompt) + [1] * len(answer), dtype=torch.int64),
    }


def _read_texts(notes: Path) -> dict[str, str]:
    table = pq.read_table(notes, columns=["note_id", "text"])
    return dict(zip(*(table[name].to_pylist() for name in ("note_id", "text")), strict=True))


def _read_pairs(traces: Path, texts: Mapping[str, str]) -> list[tuple[str, str]]:
    table = pq.read_table(traces, columns=["note_id", "response"])
    rows = list(zip(*(table[name].to_pylist() for name in ("note_id", "response")), strict=True))
    unknown = sum(note_id not in texts for note_id, _ in rows)
    if unknown:
        raise DataError(
            f"{unknown} of {len(rows)} traces in {traces} belong to no note of the training split. "
            "Build traces and notes from the same run."
        )
    return [(texts[note_id], response) for note_id, response in rows]
