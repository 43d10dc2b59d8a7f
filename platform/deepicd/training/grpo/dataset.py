"""verl's dataset, fed by Ray Data, and the order in which its rows are asked for.

In: one split of notes (Parquet). Out: the rows verl's trainer asks for by index. Ray Data reads and
tokenises in the background while verl starts its workers; a row that has not arrived yet is waited
for, so training starts before the whole split is tokenised. verl always passes a sampler, which
rules out an iterable dataset; an index means the same row in every run, and a resumed sampler goes
on with exactly the next unseen row.

Over-long notes are cut, or left out, by `prompts.encode`. How many are left out is known only at
the end of the stream, so the training length is the file's row count and indices wrap around the
rows kept. Validation must not count a note twice: its kept rows are counted here first.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch.utils.data import Dataset, Sampler

from deepicd.errors import DataError
from deepicd.prompts import PromptEncoder
from deepicd.records import Limits
from deepicd.tokens import cache_blocks, cache_path, count_notes, count_prompts, stream_prompts

_DATA_SOURCE = "notes"
# A block holds a thousand rows or more; the first batch should not wait for all of them.
_ROWS_AT_ONCE = 256


class RowStream:
    """Rows that arrive in order from a background thread and stay addressable by index.

    The thread starts with the first row asked for, or with `start`.
    """

    def __init__(self, blocks: Iterator[Sequence[dict[str, Any]]]) -> None:
        self.waited_s = 0.0
        """Seconds that callers of `row` have waited for rows to arrive."""
        self._rows: list[dict[str, Any]] = []
        self._is_finished = False
        self._error: BaseException | None = None
        self._arrived = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(blocks,), daemon=True)
        self._start_once = threading.Lock()

    def start(self) -> None:
        """Begin to read, if that has not begun."""
        with self._start_once:
            # A thread starts once in its life, and has no id before.
            if self._thread.ident is None:
                self._thread.start()

    def _read(self, blocks: Iterator[Sequence[dict[str, Any]]]) -> None:
        try:
            for block in blocks:
                with self._arrived:
                    self._rows.extend(block)
                    self._arrived.notify_all()
        except BaseException as error:
            # Raised where somebody waits for a row, not in a thread that nobody looks at.
            self._error = error
        finally:
            with self._arrived:
                self._is_finished = True
                self._arrived.notify_all()

    def row(self, index: int) -> dict[str, Any]:
        """Row `index`, counted around the end once the end is known; blocks until it has
        arrived."""
        self.start()
        with self._arrived:
            started = time.monotonic()
            self._arrived.wait_for(lambda: index < len(self._rows) or self._is_finished)
            self.waited_s += time.monotonic() - started
            if index >= len(self._rows):
                self._raise_if_unusable()
            return self._rows[index % len(self._rows)]

    def _raise_if_unusable(self) -> None:
        if self._error is not None:
            raise self._error
        if not self._rows:
            raise DataError(
                "no note of the split fits into data.max_prompt_tokens; raise it or check the split"
            )


class NotesDataset(Dataset):
    """Map-style dataset over one split; verl constructs it by `data.custom_cls`."""

    def __init__(
        self,
        data_files: str | Sequence[str],
        tokenizer: Any,
        config: Any,
        # verl passes it; only a model that sees pictures has one.
        processor: Any = None,
        max_samples: int = -1,
    ) -> None:
        split = Path(data_files if isinstance(data_files, str) else data_files[0])
        self._is_training = str(split) in _as_paths(config.train_files)
        self._max_samples = max_samples
        limits = Limits(config.max_prompt_length, config.max_response_length, config.overlong)
        encoder = PromptEncoder.of_model(Path(tokenizer.name_or_path), limits)
        order_by = config.curriculum if self._is_training else ""
        self._num_rows = count_notes(split)
        if not self._is_training:
            self._num_rows = count_prompts(split, encoder=encoder)
        self._stream = open_stream(split, encoder, order_by=order_by)
        if self._is_training:  # validation comes later, when the engines are up
            self._stream.start()

    @property
    def waited_s(self) -> float:
        """Seconds that the trainer has waited for notes so far: 0 unless it starves."""
        return self._stream.waited_s

    def __len__(self) -> int:
        return min(self._num_rows, self._max_samples) if self._max_samples > 0 else self._num_rows

    def __getitem__(self, index: int) -> dict[str, Any]:
        return verl_row(self._stream.row(index), index)


class EpochSampler(Sampler[int]):
    """Indices of the training rows: as they arrive in the first epoch, shuffled in later ones.

    The first epoch takes the order of the stream (the file was shuffled when it was built, or a
    curriculum asks for an order), so that no row is waited for longer than necessary; a later epoch
    is a permutation that follows from seed and epoch alone, unless there is a curriculum, which is
    repeated. `state_dict` is all that a restart needs to go on with the next unseen row.
    """

    def __init__(self, num_rows: int, *, seed: int, is_shuffled: bool) -> None:
        self._num_rows = num_rows
        self._seed = seed
        self._is_shuffled = is_shuffled
        self._epoch = 0
        self._next = 0

    def __len__(self) -> int:
        return self._num_rows

    def __iter__(self) -> Iterator[int]:
        order = self._order()
        while self._next < self._num_rows:
            # Counted before it is given out: a state taken meanwhile must not give the row again.
            self._next += 1
            yield int(order[self._next - 1])
        self._epoch, self._next = self._epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        """Epoch, and how many of its rows were given out."""
        return {"epoch": self._epoch, "next": self._next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where `state` was taken."""
        self._epoch, self._next = state["epoch"], state["next"]

    def _order(self) -> Any:
        if self._epoch == 0 or not self._is_shuffled:
            return range(self._num_rows)
        return np.random.default_rng([self._seed, self._epoch]).permutation(self._num_rows)


_streams: dict[Path, RowStream] = {}


def open_stream(split: Path, encoder: PromptEncoder, *, order_by: str = "") -> RowStream:
    """The rows of a split, shared by the trials that this process serves: they follow from the
    split's content and the encoder alone, and nobody writes to them.
    """
    key = cache_path(split, encoder=encoder, order_by=order_by)
    if key not in _streams:
        _streams[key] = RowStream(_read_blocks(split, encoder, order_by=order_by))
    return _streams[key]


def _read_blocks(
    split: Path, encoder: PromptEncoder, *, order_by: str = ""
) -> Iterator[list[dict[str, Any]]]:
    """Tokenised rows of a split as Ray Data delivers them; kept for the next trial."""
    blocks: Iterator[pa.Table] = iter(
        stream_prompts(split, encoder=encoder, order_by=order_by).iter_batches(
            batch_size=None, batch_format="pyarrow"
        )
    )
    cached = cache_path(split, encoder=encoder, order_by=order_by)
    for block in blocks if cached.is_file() else cache_blocks(blocks, cached):
        for start in range(0, block.num_rows, _ROWS_AT_ONCE):
            yield block.slice(start, _ROWS_AT_ONCE).to_pylist()


def verl_row(prompt: dict[str, Any], index: int) -> dict[str, Any]:
    """One tokenised note as the columns that verl's trainer and reward manager read."""
    return {
        "raw_prompt": list(prompt["token_ids"]),
        "data_source": _DATA_SOURCE,
        "reward_model": {"style": "rule", "ground_truth": prompt["code"]},
        "extra_info": {
            "index": index,
            "note_id": prompt["note_id"],
            "patient_id": prompt["patient_id"],
            "note": prompt["text"],
        },
        "index": index,
    }


def _as_paths(files: str | Sequence[str]) -> list[str]:
    return [files] if isinstance(files, str) else [str(file) for file in files]
