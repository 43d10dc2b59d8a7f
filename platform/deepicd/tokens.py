"""Split notes → tokenised prompts, streamed by Ray Data in the order of the file.

In: the Parquet file of a split, the folder of a model whose tokeniser is used. Out: a Ray Dataset
with `COLUMNS`. Decided here: the prompt is `prompts.render_prompt`, so ids equal those of
`prompts.prompt_token_ids`; the tokeniser is loaded by transformers once, in the calling process,
and handed to the workers as its fast backend, so they encode a whole block at once and never import
transformers; prompts longer than `max_prompt_tokens` are left out, here and so in training and
evaluation alike; blocks keep the file's order, whatever finishes first.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deepicd import prompts
from deepicd.errors import DataError, MissingError

if TYPE_CHECKING:
    import ray.data
    from tokenizers import Tokenizer

COLUMNS = ("note_id", "patient_id", "code", "text", "token_ids")
"""Columns of a tokenised split; `token_ids` is a list of int32, prefill included."""

_NOTE_COLUMNS = ("note_id", "patient_id", "code", "text")
_ROWS_PER_BATCH = 1024


def stream_prompts(split: Path, *, model: Path, max_prompt_tokens: int) -> "ray.data.Dataset":
    """Tokenised prompts of a split; nothing is read before the dataset is consumed.

    Ray must be initialised by the caller; else Ray Data starts or joins one by its own rules.

    Raises:
        MissingError: no split, or no tokeniser in `model`.
        DataError: the file is not a split of notes, or holds no row.
        ConfigError: the tokeniser does not know ChatML's markers.
    """
    num_rows = count_notes(split)
    backend = load_backend(model)
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # else two lines a dataset
    num_blocks = max(1, num_rows // (4 * _ROWS_PER_BATCH))
    notes = ray.data.read_parquet(
        str(split), columns=list(_NOTE_COLUMNS), override_num_blocks=num_blocks
    )
    return notes.map_batches(
        tokenize_block,
        fn_kwargs={"backend": backend, "max_prompt_tokens": max_prompt_tokens},
        batch_format="pyarrow",
        batch_size=_ROWS_PER_BATCH,
    )


def tokenize_block(block: pa.Table, *, backend: str, max_prompt_tokens: int) -> pa.Table:
    """One block of notes as a block of prompts, order kept, over-long rows left out. Pure.

    `backend` is what `load_backend` gave.
    """
    token_ids = encode_notes(block["text"].to_pylist(), backend)
    kept = [row for row, ids in enumerate(token_ids) if len(ids) <= max_prompt_tokens]
    ids = pa.array([token_ids[row] for row in kept], pa.list_(pa.int32()))
    return (
        block.select(list(_NOTE_COLUMNS))
        .take(pa.array(kept, pa.int64()))
        .append_column("token_ids", ids)
    )


def encode_notes(texts: Sequence[str], backend: str) -> list[list[int]]:
    """Prompt token ids of notes; nothing is added, padded or cut."""
    rendered = [prompts.render_prompt(text) for text in texts]
    encodings = _tokenizer(backend).encode_batch_fast(rendered, add_special_tokens=False)
    return [encoding.ids for encoding in encodings]


def count_lengths(split: Path, *, model: Path, max_prompt_tokens: int) -> Mapping[str, int | float]:
    """Prompt lengths of a split in tokens: mean, max, and how many are over-long.

    Reads in this process, without Ray.
    """
    count_notes(split)
    texts = pq.read_table(split, columns=["text"])["text"].to_pylist()
    lengths = np.array([len(ids) for ids in encode_notes(texts, load_backend(model))])
    return {
        "num_notes": len(lengths),
        "num_overlong": int((lengths > max_prompt_tokens).sum()),
        "tokens_mean": float(lengths.mean()),
        "tokens_p99": float(np.percentile(lengths, 99)),
        "tokens_max": int(lengths.max()),
    }


def count_notes(split: Path) -> int:
    """Rows of a split. Raises MissingError, or DataError when it is broken or empty."""
    if not split.is_file():
        raise MissingError(f"no split at {split}; build it first: deepicd notes build --out DIR")
    try:
        metadata = pq.read_metadata(split)
        names = set(pq.read_schema(split).names)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{split} is not a Parquet file ({type(error).__name__}).") from None
    missing = [name for name in _NOTE_COLUMNS if name not in names]
    if missing or not metadata.num_rows:
        fault = f"has no column {', '.join(missing)}" if missing else "holds no note"
        raise DataError(f"{split} {fault}. Build it anew: deepicd notes build --out DIR")
    return int(metadata.num_rows)


def load_backend(model: Path) -> str:
    """The fast tokeniser of a model folder, as text that any process can rebuild it from.

    Raises MissingError without a `tokenizer.json`, DataError when it is broken, ConfigError when
    ChatML's markers are unknown.
    """
    path = model / "tokenizer.json"
    if not path.is_file():
        raise MissingError(
            f"no tokeniser at {path}; a model is a Hugging Face folder with a fast tokeniser."
        )
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(model), local_files_only=True)
    except Exception as error:  # tokenizers raises bare Exception on a broken file
        raise DataError(
            f"{path} is not a tokeniser ({type(error).__name__}); export the model again."
        ) from None
    prompts.check_special_tokens(list(tokenizer.added_tokens_encoder), str(path))
    return str(tokenizer.backend_tokenizer.to_str())


@lru_cache(maxsize=2)
def _tokenizer(backend: str) -> "Tokenizer":
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(backend)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
