"""verl's dataset, fed by Ray Data.

In: one split of notes (Parquet). Out: the rows verl's trainer asks for by index. Ray Data reads and
tokenises in the background while verl starts its workers; a row that has not arrived yet is waited
for, so training starts before the whole split is tokenised. verl always passes a sampler, which
rules out an iterable dataset; row order is the file's (shuffled by seed when it was built), so an
index means the same row in every run and a resumed sampler continues with exactly the next unseen
row.

Rows whose prompt is over-long are left out by `tokens`. How many are kept is known only at the end
of the stream, so the training length is the file's row count and indices wrap around the rows kept.
Validation must not count a note twice: its kept rows are counted here first, without Ray.
"""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from deepicd.errors import DataError
from deepicd.tokens import count_lengths, count_notes, stream_prompts

DATA_SOURCE = "notes"
_BLOCK_ROWS = 256


class RowStream:
    """Rows that arrive in order from a background thread and stay addressable by index.

    The thread starts with the first row asked for, or with `start`.
    """

    def __init__(self, blocks: Iterator[Sequence[dict[str, Any]]]) -> None:
        self._rows: list[dict[str, Any]] = []
        self._is_finished = False
        self._error: BaseException | None = None
        self._arrived = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(blocks,), daemon=True)
        self._start_once = threading.Lock()

    def start(self) -> None:
        """Begin to read, if that has not begun."""
        with self._start_once:
            if self._thread.ident is None:
                self._thread.start()

    def _read(self, blocks: Iterator[Sequence[dict[str, Any]]]) -> None:
        try:
            for block in blocks:
                with self._arrived:
                    self._rows.extend(block)
                    self._arrived.notify_all()
        except BaseException as error:
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
            self._arrived.wait_for(lambda: index < len(self._rows) or self._is_finished)
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
        processor: Any = None,
        max_samples: int = -1,
    ) -> None:
        split = Path(data_files if isinstance(data_files, str) else data_files[0])
        self._is_training = str(split) in _as_paths(config.train_files)
        self._max_samples = max_samples
        limits = {
            "model": Path(tokenizer.name_or_path),
            "max_prompt_tokens": config.max_prompt_length,
        }
        self._num_rows = count_notes(split)
        if not self._is_training:
            self._num_rows -= int(count_lengths(split, **limits)["num_overlong"])
        self._stream = RowStream(read_blocks(split, **limits))
        if self._is_training:  # validation comes later, when the engines are up
            self._stream.start()

    def __len__(self) -> int:
        return min(self._num_rows, self._max_samples) if self._max_samples > 0 else self._num_rows

    def __getitem__(self, index: int) -> dict[str, Any]:
        return verl_row(self._stream.row(index), index)


def read_blocks(split: Path, **limits: Any) -> Iterator[list[dict[str, Any]]]:
    """Tokenised rows of a split as Ray Data delivers them."""
    batches = stream_prompts(split, **limits).iter_batches(
        batch_size=_BLOCK_ROWS, batch_format="pyarrow"
    )
    for batch in batches:
        yield batch.to_pylist()


def verl_row(prompt: dict[str, Any], index: int) -> dict[str, Any]:
    """One tokenised note as the columns that verl's trainer and reward manager read."""
    return {
        "raw_prompt": list(prompt["token_ids"]),
        "data_source": DATA_SOURCE,
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
