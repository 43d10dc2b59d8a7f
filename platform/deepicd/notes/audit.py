"""Split notes on disk → what leaks from the future, from the label, or from one split to another.

In: a folder that `build` wrote (each split a Parquet file or a folder of them), and traces where
there are some. Out: one `Check` a rule: how many notes break it, the share that is still accepted,
a few ids. Decided here: which rules there are and what each accepts. A share above the limit
is a leak; a smaller one is a warning, because some findings are natural: the words of a gold title
do occur in true admission notes (a patient sent in *for* pneumonia), so they are counted and only
many are a leak. Headers of the stay are looked for line by line by the same grammar that cut the
notes (`mimic.sections.find_late`), and late text by a judge that is not the grammar (`late_text`),
which only warns because it is unsure; what the stay changed in the medication is looked for by its
own words (`wordings`). Notes of different patients that are nearly the same may be templates, so
they only warn too. Time is linear in the text, memory in the number of notes; no text is kept.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from deepicd.errors import CodeError, ConfigError, DataError
from deepicd.notes.build_report import REPORT, read_build_report
from deepicd.notes.late_text import LateTextJudge
from deepicd.notes.mimic.sections import SECTIONS, find_late
from deepicd.notes.near_duplicates import find_near_duplicates, minhash_signatures
from deepicd.notes.split_files import read_batches
from deepicd.notes.table.cutting import has_late_header
from deepicd.notes.wordings import (
    DIAGNOSES,
    gold_phrases,
    has_changed_medication,
    is_gold_named,
    written_codes,
)
from deepicd.paths import SPLITS

LIMITS: Mapping[str, float] = {
    "forbidden_section": 0.0,
    "changed_medication": 0.01,
    "late_wording": 1.0,
    "diagnosis_phrase": 0.01,
    "diagnosis_wording": 1.0,
    "gold_title": 0.05,
    "gold_code": 0.0,
    "repeated_note_id": 0.0,
    "shared_patient": 0.0,
    "exact_duplicate": 0.0,
    "near_duplicate": 1.0,
    "trace_overlap": 0.0,
}
"""Check → share of notes (of traces for `trace_overlap`) above which it is a leak; 1 only warns."""

_SIMILARITY = 0.8
"""Estimated Jaccard similarity of word 5-grams from which two notes are near-duplicates."""

_MIN_SIMILARITY = 0.5
"""Below it MinHash finds few of the pairs (`near_duplicates`)."""

_NOT_CHECKED = "not checked"
NO_JUDGE = "no judge of late text: the build had too few passages to learn one from"
_NO_TRACES = "no traces: --traces FILE names those of SFT"

_NUM_EXAMPLES = 5
"""Ids named by one check."""

_COLUMNS = ("note_id", "patient_id", "text", "code")
_BATCH_ROWS = 2048


@dataclass(frozen=True)
class Check:
    """Outcome of one rule."""

    name: str
    count: int
    """Notes (traces for `trace_overlap`) that break the rule."""
    share: float
    """Of all notes (traces)."""
    limit: float
    examples: tuple[str, ...]
    """Note ids, in the order of the splits, of `late_wording` with section and number of the
    passage; never text."""
    why: str = ""
    """Why there was nothing to check with; empty where the rule was checked."""

    @property
    def verdict(self) -> str:
        """clean, warning, leak or not checked."""
        if self.why:
            return _NOT_CHECKED
        if not self.count:
            return "clean"
        return "leak" if self.share > self.limit else "warning"

    def as_dict(self) -> dict[str, Any]:
        """For JSON: `check` is the name of the rule."""
        values = asdict(self)
        if not self.why:
            del values["why"]
        return {"check": values.pop("name"), **values, "verdict": self.verdict}


@dataclass(frozen=True)
class _Notes:
    """What is kept of all notes: n rows, in the order of the splits."""

    note_id: pa.Array
    patient_id: pa.Array
    split: NDArray[np.int8]
    digest: NDArray[np.uint64]
    """Of the text in lower case, blanks collapsed."""
    signature: NDArray[np.uint32]
    broken: Mapping[str, NDArray[np.bool_]]
    """Check on the text → whether a note breaks it."""
    doubts: tuple[str, ...]
    """The first passages that read like the stay: note id, section, number."""


def audit_notes(
    folder: Path,
    *,
    traces: Sequence[Mapping[str, Any]] | None = None,
    limits: Mapping[str, float] | None = None,
    similarity: float = _SIMILARITY,
    judge: LateTextJudge | None = None,
) -> list[Check]:
    """Every check on the splits under `folder`, in the order of `LIMITS`.

    Args:
        folder: holds `{train,validation,test,promotion}.parquet`.
        traces: rows with `note_id` and `patient_id` that SFT learns from; without them
            `trace_overlap` is not checked.
        limits: other limits than `LIMITS`, by name of the check.
        similarity: from which two notes are near-duplicates.
        judge: of late text (`late_text.load_judge`); without one `late_wording` is not checked.

    Raises:
        ConfigError: an unknown check, or a limit or similarity out of range.
        MissingError: a split is not there. DataError: it is no split of notes, or has none.
    """
    allowed = _merge_limits(limits or {})
    if not _MIN_SIMILARITY <= similarity <= 1:
        raise ConfigError(
            f"a similarity is from {_MIN_SIMILARITY} to 1; got {similarity}. Correct it."
        )
    notes = _read_notes(folder, judge, is_kept=_is_kept(folder))
    broken = {
        **notes.broken,
        "repeated_note_id": _repeats(pc.cast(notes.note_id, pa.string())),
        "shared_patient": _is_shared(_number(notes.patient_id), notes.split),
        "exact_duplicate": _is_shared(notes.digest, notes.split),
        "near_duplicate": _near_duplicates(notes, similarity),
    }
    checks = {name: _check(name, rows, notes, limit=allowed[name]) for name, rows in broken.items()}
    why = "" if judge else NO_JUDGE
    checks["late_wording"] = replace(checks["late_wording"], examples=notes.doubts, why=why)
    overlap = _check_traces(traces or (), notes, limit=allowed["trace_overlap"])
    checks["trace_overlap"] = replace(overlap, why=_NO_TRACES if traces is None else "")
    return [checks[name] for name in LIMITS]


def parse_limits(texts: Iterable[str]) -> dict[str, float]:
    """`CHECK=SHARE` → limits. Raises ConfigError for what is not written so."""
    limits = {}
    for text in texts:
        name, _, share = text.partition("=")
        try:
            limits[name.strip()] = value = float(share)
            is_share = 0 <= value <= 1
        except ValueError:
            is_share = False
        if not is_share:
            raise ConfigError(
                f"a limit is written CHECK=SHARE, such as near_duplicate=0.01, with a SHARE from 0 "
                f"to 1; got {text[:60]!r}. Correct it."
            )
    return limits


def as_report(checks: Iterable[Check], judge: LateTextJudge | None) -> dict[str, Any]:
    """Leaks, warnings (late wording that could not be looked for is one), limits, for JSON."""
    rows = [check.as_dict() for check in checks]
    return {
        "leaks": [row for row in rows if row["verdict"] == "leak"],
        # No traces is the caller's choice; no judge is a fact of the build.
        "warnings": [
            row for row in rows if row["verdict"] == "warning" or row.get("why") == NO_JUDGE
        ],
        "limits": {row["check"]: row["limit"] for row in rows},
        "late_text_judge": judge.summary() if judge else {"verdict": _NOT_CHECKED, "why": NO_JUDGE},
    }


def has_leak(checks: Iterable[Check]) -> bool:
    """Whether any check found more than its limit."""
    return any(check.verdict == "leak" for check in checks)


def _has_forbidden(text: str) -> bool:
    """Whether a line of a note has no kept header, or a header that leaves its section."""
    for line in text.splitlines():
        name, sign, said = line.partition(": ")
        if not sign or name not in SECTIONS or find_late(name, said) is not None:
            return True
    return False


def _merge_limits(limits: Mapping[str, float]) -> dict[str, float]:
    for name, limit in limits.items():
        if name not in LIMITS or not 0 <= limit <= 1:
            raise ConfigError(
                f"a limit is a share from 0 to 1 of one of {', '.join(LIMITS)}; got {name} = "
                f"{limit}. Correct it."
            )
    return {**LIMITS, **limits}


def _is_kept(folder: Path) -> bool:
    """Whether the build took admission notes as they are (`data.sections = "keep"`)."""
    if not (folder / REPORT).is_file():
        return False
    match read_build_report(folder):
        case {"identity": {"settings": {"sections": "keep"}}}:
            return True
        case _:
            return False


def _read_notes(folder: Path, judge: LateTextJudge | None, *, is_kept: bool) -> _Notes:
    has_late = has_late_header if is_kept else _has_forbidden
    batches: list[dict[str, Any]] = []
    for number, name in enumerate(SPLITS):
        for batch in read_batches(folder / f"{name}.parquet", _COLUMNS, _BATCH_ROWS):
            split = np.full(batch.num_rows, number, np.int8)
            batches.append({**_read_batch(batch, judge, has_late), "split": split})
    if not batches:
        raise DataError(f"the splits under {folder} hold no note; build them anew.")
    return _Notes(
        note_id=pa.concat_arrays([batch["note_id"] for batch in batches]),
        patient_id=pa.concat_arrays([batch["patient_id"] for batch in batches]),
        split=np.concatenate([batch["split"] for batch in batches]),
        digest=np.concatenate([batch["digest"] for batch in batches]),
        signature=np.concatenate([batch["signature"] for batch in batches]),
        broken={
            name: np.concatenate([batch["broken"][name] for batch in batches])
            for name in batches[0]["broken"]
        },
        doubts=tuple(doubt for batch in batches for doubt in batch["doubts"])[:_NUM_EXAMPLES],
    )


def _read_batch(
    batch: pa.RecordBatch, judge: LateTextJudge | None, has_late: Callable[[str], bool]
) -> dict[str, Any]:
    """What is kept of one batch; its text is not."""
    text = batch["text"]
    lower = pc.utf8_lower(text).to_pylist()
    gold = batch["code"].to_pylist()
    broken = {name: _matches(text, pattern) for name, pattern in DIAGNOSES.items()}
    notes = text.to_pylist()
    broken["forbidden_section"] = np.array([has_late(note) for note in notes], np.bool_)
    broken["changed_medication"] = np.array([*map(has_changed_medication, notes)], np.bool_)
    doubts = _find_doubts(batch, judge)
    broken["late_wording"] = np.array([bool(found) for found in doubts], np.bool_)
    broken["gold_title"] = _named(lower, gold, gold_phrases)
    broken["gold_code"] = _named(lower, gold, written_codes)
    return {
        "note_id": batch["note_id"],
        "patient_id": batch["patient_id"],
        "digest": np.array([_digest(note) for note in lower], np.uint64),
        "signature": minhash_signatures(text),
        "broken": broken,
        "doubts": [doubt for found in doubts for doubt in found][:_NUM_EXAMPLES],
    }


def _find_doubts(batch: pa.RecordBatch, judge: LateTextJudge | None) -> list[list[str]]:
    """Doubtful passages of each note, named by note id, section and number."""
    if judge is None:
        return [[] for _ in range(batch.num_rows)]
    names = [str(name) for name in batch["note_id"].to_pylist()]
    doubts = judge.find_doubts(names, batch["text"].to_pylist())
    return [
        [f"{name}:{doubt.section}:{doubt.number}" for doubt in found]
        for name, found in zip(names, doubts, strict=True)
    ]


def _matches(text: pa.Array, pattern: str) -> NDArray[np.bool_]:
    matches = pc.match_substring_regex(text, pattern, ignore_case=True)
    return np.asarray(matches.to_numpy(zero_copy_only=False), np.bool_)


def _named(texts: Sequence[str], gold: Sequence[str], phrases_of: Any) -> NDArray[np.bool_]:
    try:
        return np.array(
            [is_gold_named(text, phrases_of(code)) for text, code in zip(texts, gold, strict=True)],
            np.bool_,
        )
    except CodeError:
        raise DataError(
            "a gold label is no ICD-10-CM code of any release, and is not shown: it may be text of "
            "a note. Build the notes anew: deepicd notes build --out DIR"
        ) from None


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(" ".join(text.split()).encode(), digest_size=8).digest(), "big")


def _number(values: pa.Array) -> NDArray[np.uint64]:
    """Equal values get equal numbers."""
    return np.asarray(values.dictionary_encode().indices).astype(np.uint64)


def _repeats(values: pa.Array) -> NDArray[np.bool_]:
    """Whether a row's value stood in an earlier row."""
    numbers = _number(values)
    first = np.zeros(len(numbers), np.bool_)
    first[np.unique(numbers, return_index=True)[1]] = True
    return ~first


def _is_shared(keys: NDArray[np.uint64], split: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Rows whose key also stands in an earlier split."""
    _, numbers = np.unique(keys, return_inverse=True)
    first = np.full(int(numbers.max()) + 1, len(SPLITS), np.int8)
    # Assignment by index would keep the last split of a key, not the least.
    np.minimum.at(first, numbers, split)
    return np.asarray(split > first[numbers], np.bool_)


def _near_duplicates(notes: _Notes, similarity: float) -> NDArray[np.bool_]:
    """Rows that are nearly, and not just exactly, a note of an earlier split."""
    rows = np.zeros(len(notes.split), np.bool_)
    for first, second in find_near_duplicates(notes.signature, notes.split, similarity=similarity):
        # Equal texts are counted by `exact_duplicate` already.
        rows[second] = notes.digest[first] != notes.digest[second]
    return rows


def _check(name: str, rows: NDArray[np.bool_], notes: _Notes, *, limit: float) -> Check:
    where = np.flatnonzero(rows)
    examples = tuple(notes.note_id.take(pa.array(where[:_NUM_EXAMPLES])).to_pylist())
    return Check(name, len(where), share=len(where) / len(rows), limit=limit, examples=examples)


def _check_traces(traces: Sequence[Mapping[str, Any]], notes: _Notes, *, limit: float) -> Check:
    """Traces whose note or patient lies outside training."""
    held = pa.array(notes.split != SPLITS.index("train"))
    note_ids = set(notes.note_id.filter(held).to_pylist())
    patients = set(notes.patient_id.filter(held).to_pylist())
    broken = [
        str(trace["note_id"])
        for trace in traces
        if trace["note_id"] in note_ids or trace["patient_id"] in patients
    ]
    share = len(broken) / max(1, len(traces))
    examples = tuple(broken[:_NUM_EXAMPLES])
    return Check("trace_overlap", len(broken), share=share, limit=limit, examples=examples)
