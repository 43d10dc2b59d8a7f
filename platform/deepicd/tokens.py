"""Notes of a split → tokenised prompts, streamed by Ray Data in the order of the file.

In: a split (a Parquet file, or a folder of parts), an encoder (`prompts.PromptEncoder`). Out: a
Ray Dataset with `COLUMNS`. Decided here: Ray Data reads blocks on any node and hands them on in the
order of the file (or of a column: a curriculum), whatever finishes first, so that a consumer starts
with the first block; notes that the encoder leaves out are left out.

A consumer that reads a stream to its end caches it (`cache_blocks`): the cache is one Parquet file
beside the split, named by everything that decides its content. The next stream with the same name
reads it and tokenises nothing.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from deepicd.errors import ConfigError, DataError, MissingError
from deepicd.files import replaced_file
from deepicd.prompts import PromptEncoder, render_prompt

if TYPE_CHECKING:
    import ray.data

COLUMNS = ("note_id", "patient_id", "code", "text", "token_ids", "is_cut")
"""Columns of a tokenised split; `token_ids` is a list of int32, prefill included; `text` is what
the model is shown of the note."""

_LENGTH = "length"
"""Order by the note's length in characters, which is no column of the split."""

_NOTE_COLUMNS = ("note_id", "patient_id", "code", "text")
_ROWS_PER_BATCH = 1024
_ROWS_PER_TASK = 8192
CACHE = "tokens"
_CACHE_VERSION = "1"


def stream_prompts(
    split: Path, *, encoder: PromptEncoder, order_by: str = ""
) -> "ray.data.Dataset":
    """Tokenised prompts of a split; nothing is read before the dataset is consumed.

    Ray must be initialised by the caller; else Ray Data starts or joins one by its own rules.

    Args:
        split: Parquet file, or a folder of parts in the order of their names.
        encoder: tokeniser and limit.
        order_by: a column of the split, or `length`; with `-` in front, descending. Sorting reads
            the split before the first row comes; tokenising still streams.

    Raises:
        MissingError: no split.
        DataError: the file is not a split of notes, or holds no row.
        ConfigError: it has no column `order_by`.
    """
    count_notes(split)
    column, is_descending = _check_order(split, order_by)
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # An index must mean the same note in every run; Ray Data's default is whatever ends first.
    context.execution_options.preserve_order = True
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # else two lines a dataset
    cached = cache_path(split, encoder=encoder, order_by=order_by)
    if cached.is_file():
        return _map_row_groups(cached, columns=COLUMNS)
    if not column:
        return _map_row_groups(split, columns=_NOTE_COLUMNS, encoder=encoder)
    extra = [column] if column not in (_LENGTH, *_NOTE_COLUMNS) else []
    notes = _map_row_groups(split, columns=[*_NOTE_COLUMNS, *extra])
    if column == _LENGTH:
        notes = notes.map_batches(_add_length, batch_format="pyarrow")
    return notes.sort(column, descending=is_descending).map_batches(
        tokenize_block,
        fn_kwargs={"encoder": encoder},
        batch_format="pyarrow",
        batch_size=_ROWS_PER_BATCH,
    )


def _map_row_groups(
    split: Path, *, columns: Sequence[str], encoder: PromptEncoder | None = None
) -> "ray.data.Dataset":
    """Rows of a split, tokenised where there is an encoder, a task for each range of row groups.

    `ray.data.read_parquet` (Ray 2.60) reads a file as a whole in one task and maps it in one more,
    whatever the number of blocks that is asked for: one core would tokenise the split.
    """
    import ray.data

    ranges = _row_group_ranges(split)
    return ray.data.from_items(ranges, override_num_blocks=len(ranges)).map_batches(
        read_row_groups,
        fn_kwargs={"columns": list(columns), "encoder": encoder},
        batch_format="pyarrow",
        batch_size=1,
    )


def _row_group_ranges(split: Path) -> list[dict[str, Any]]:
    """Ranges of neighbouring row groups (`file`, `first`, `end`) of about `_ROWS_PER_TASK` rows."""
    ranges: list[dict[str, Any]] = []
    for path in parquet_files(split):
        metadata, first, num_rows = pq.read_metadata(path), 0, 0
        for group in range(metadata.num_row_groups):
            num_rows += metadata.row_group(group).num_rows
            if num_rows >= _ROWS_PER_TASK or group == metadata.num_row_groups - 1:
                ranges.append({"file": str(path.resolve()), "first": first, "end": group + 1})
                first, num_rows = group + 1, 0
    return ranges


def read_row_groups(
    ranges: pa.Table, *, columns: Sequence[str], encoder: PromptEncoder | None
) -> Iterator[pa.Table]:
    """The rows of row-group ranges, batch by batch, tokenised where there is an encoder."""
    for row in ranges.to_pylist():
        groups = list(range(row["first"], row["end"]))
        with pq.ParquetFile(row["file"]) as file:
            for batch in file.iter_batches(_ROWS_PER_BATCH, row_groups=groups, columns=columns):
                rows = pa.Table.from_batches([batch])
                yield rows if encoder is None else tokenize_block(rows, encoder=encoder)


def parquet_files(split: Path) -> list[Path]:
    """The file that a split is, or the parts of a folder in the order of their names."""
    return sorted(split.rglob("*.parquet")) if split.is_dir() else [split]


def tokenize_block(block: pa.Table, *, encoder: PromptEncoder) -> pa.Table:
    """One block of notes as a block of prompts, order kept. Pure."""
    encoded = encoder.encode(block["text"].to_pylist())
    kept = [row for row, prompt in enumerate(encoded) if prompt.token_ids is not None]
    columns = {
        name: block[name].take(pa.array(kept, pa.int64())).combine_chunks()
        for name in _NOTE_COLUMNS
        if name != "text"
    }
    columns["text"] = pa.array([encoded[row].text for row in kept], pa.string())
    columns["token_ids"] = pa.array([encoded[row].token_ids for row in kept], pa.list_(pa.int32()))
    columns["is_cut"] = pa.array([encoded[row].is_cut for row in kept], pa.bool_())
    return pa.table({name: columns[name] for name in COLUMNS})


def count_lengths(split: Path, *, encoder: PromptEncoder) -> Mapping[str, int | float]:
    """Prompt lengths of a split in tokens: mean, 99th percentile, maximum of the whole notes; how
    many are over-long, and of these how many are cut and how many are left out.

    Reads in this process, without Ray.
    """
    count_notes(split)
    texts = pq.read_table(split, columns=["text"])["text"].to_pylist()
    encoded = encoder.encode(texts)
    lengths = np.array([prompt.num_tokens for prompt in encoded])
    return {
        "num_notes": len(lengths),
        "num_overlong": int((lengths > encoder.max_tokens).sum()),
        "num_cut": sum(prompt.is_cut for prompt in encoded),
        "num_left_out": sum(prompt.token_ids is None for prompt in encoded),
        "tokens_mean": float(lengths.mean()),
        "tokens_p99": float(np.percentile(lengths, 99)),
        "tokens_max": int(lengths.max()),
    }


def count_prompts(split: Path, *, encoder: PromptEncoder, order_by: str = "") -> int:
    """How many prompts a stream of this split gives, as cheaply as it can be known."""
    cached = cache_path(split, encoder=encoder, order_by=order_by)
    if cached.is_file():
        return int(pq.read_metadata(cached).num_rows)
    return count_notes(split) - int(count_lengths(split, encoder=encoder)["num_left_out"])


def count_notes(split: Path) -> int:
    """Rows of a split. Raises MissingError, or DataError when it is broken or empty."""
    if not split.exists():
        raise MissingError(f"no split at {split}; build it first: deepicd notes build --out DIR")
    try:
        dataset = pads.dataset(split, format="parquet")
        names, num_rows = set(dataset.schema.names), dataset.count_rows()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{split} is not a Parquet file ({type(error).__name__}).") from None
    missing = [name for name in _NOTE_COLUMNS if name not in names]
    if missing or not num_rows:
        fault = f"has no column {', '.join(missing)}" if missing else "holds no note"
        raise DataError(f"{split} {fault}. Build it anew: deepicd notes build --out DIR")
    return int(num_rows)


def cache_path(split: Path, *, encoder: PromptEncoder, order_by: str = "") -> Path:
    """Where the tokenised split is kept: named by data, tokeniser, template, limit and order."""
    digest = hashlib.sha256()
    for path in parquet_files(split):
        status = path.stat()
        digest.update(_hash_file(path, status.st_size, status.st_mtime_ns))
    settings = (encoder.backend, str(encoder.max_tokens), encoder.overlong, order_by)
    # Each value is hashed by itself, so that no two lists of values give the same bytes.
    # The prompt of a note that cannot be stands for the template around it.
    for value in (_CACHE_VERSION, render_prompt("\0"), *settings):
        digest.update(hashlib.sha256(value.encode()).digest())
    return split.parent / CACHE / f"{split.stem}-{digest.hexdigest()[:16]}.parquet"


@lru_cache(maxsize=1024)
def _hash_file(path: Path, size: int, changed_ns: int) -> bytes:
    """Hash of a file's content, read once a process while size and time stay."""
    # Both arguments are part of the cache's key only.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def cache_blocks(blocks: Iterator[pa.Table], path: Path) -> Iterator[pa.Table]:
    """Pass blocks on, and leave them as the file `path` once the last one was taken.

    A stream that is left early, or a folder that cannot be written, leaves nothing.
    """
    with replaced_file(path) as aside:
        writer: pq.ParquetWriter | None = None
        try:
            for block in blocks:
                if writer is None:
                    writer = _open(aside, block.schema)
                if writer is not None:
                    writer.write_table(block)
                yield block
        finally:
            if writer is not None:
                writer.close()


def _open(path: Path, schema: pa.Schema) -> "pq.ParquetWriter | None":
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        return pq.ParquetWriter(path, schema)
    return None


def _add_length(block: pa.Table) -> pa.Table:
    return block.append_column(_LENGTH, pc.utf8_length(block["text"]))


def _check_order(split: Path, order_by: str) -> tuple[str, bool]:
    """Column and direction; both empty for the file's order."""
    column = order_by.removeprefix("-")
    columns = [*pads.dataset(split, format="parquet").schema.names, _LENGTH]
    if column and column not in columns:
        raise ConfigError(
            f"data.curriculum is {order_by!r}, and {split} has no such column; it has "
            f"{', '.join(columns)}"
        )
    return column, order_by.startswith("-")
