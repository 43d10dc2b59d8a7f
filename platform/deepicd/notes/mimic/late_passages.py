"""A sample of what a cut kept and what it left out as late: what a judge of late text learns from.

In: a cut note. Out: at most `_PER_SIDE` passages of each side, spread over the text, for one note
in `_EVERY`. Decided here: a passage is a sentence, joined with the next while it is short and cut
where it is long, so that both sides have passages of one size. The judge needs some thousand
passages, not all. Pure, and decided by the note id alone.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from deepicd.notes.mimic.sections import Cut

PASSAGES = "passages"
"""Folder of the samples, beside the cut notes; gone when a build is done."""

MIN_WORDS, MAX_WORDS = 5, 40
"""Words of a passage; a shorter rest is no passage."""

_EVERY = 4
_PER_SIDE = 4
_END = re.compile(r"(?<=[.;!?])\s+|\n+")


def split_passages(text: str) -> list[str]:
    """Passages of a text, in its order."""
    passages: list[list[str]] = []
    for sentence in _END.split(text):
        words = sentence.split()
        if passages and len(passages[-1]) < MIN_WORDS:
            passages[-1] += words
        else:
            passages.append(words)
    pieces = (
        words[at : at + MAX_WORDS] for words in passages for at in range(0, len(words), MAX_WORDS)
    )
    return [" ".join(piece) for piece in pieces if len(piece) >= MIN_WORDS]


def sample_passages(note_id: str, cut: Cut) -> list[dict[str, object]]:
    """Rows of `is_late` and `text`; empty for most notes."""
    if crc32(note_id.encode()) % _EVERY:
        return []
    kept = [passage for said in cut.sections.values() for passage in split_passages(said)]
    late = split_passages("\n".join(cut.late))
    sides = ((False, kept), (True, late))
    return [
        {"is_late": is_late, "text": text} for is_late, texts in sides for text in _spread(texts)
    ]


def _spread(texts: Sequence[str]) -> Sequence[str]:
    step = max(1, len(texts) // _PER_SIDE)
    return texts[::step][:_PER_SIDE]


def write_passages(rows: pa.Table, folder: Path, name: str) -> None:
    """Write the samples of one block of cut notes: `note_id`, `is_late`, `text`."""
    passages = rows["passages"].combine_chunks()
    texts = pc.list_flatten(passages)
    if not len(texts):
        return
    folder.mkdir(exist_ok=True)
    note_id = rows["note_id"].combine_chunks().take(pc.list_parent_indices(passages))
    columns = {name: pc.struct_field(texts, name) for name in ("is_late", "text")}
    pq.write_table(pa.table({"note_id": note_id, **columns}), folder / name)
