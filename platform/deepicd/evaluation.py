"""A model and a split of notes → predictions; predictions → scores on disk.

In: a Hugging Face folder and Parquet splits. Out: one `records.Prediction` a note, and a folder
with `predictions.jsonl` and `scores.json`. Decided here: macro-F1 is over the labels in the gold of
the split, and that list is frozen beside the scores. How vLLM answers
notes is in `inference.offline`.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from deepicd import scoring
from deepicd.checkpoints import check_layout
from deepicd.errors import DataError, MissingError
from deepicd.files import write_atomically, write_json
from deepicd.inference.offline import OfflineEngine, load_model
from deepicd.records import Limits, Prediction

PREDICTIONS, SCORES = "predictions.jsonl", "scores.json"


def predict(
    model: Path,
    split: Path,
    *,
    limits: Limits,
    limit: int = 0,
    engine: OfflineEngine | None = None,
) -> list[Prediction]:
    """Greedy predictions of one model for one split, in the file's order.

    Args:
        model: Hugging Face folder.
        split: Parquet file of notes.
        limits: of prompt and answer; the same as in training.
        limit: predict only the first notes; 0 predicts all.
        engine: how vLLM runs; the CPU profile's settings unless given.

    Raises:
        MissingError: the model or the split does not exist.
        DataError: the split has no note whose prompt fits.
        CheckpointError: vLLM cannot load the model.
        CapacityError: the engine's process died.
    """
    check_layout(model)
    if not split.is_file():
        raise MissingError(f"no notes at {split}. Build them first: deepicd notes build.")
    with load_model(model, limits=limits, engine=engine) as engine_process:
        return engine_process.answer_split(split, limit=limit)


def majority_predictions(
    train: Path, split: Path, *, note_ids: Collection[str] | None = None
) -> list[Prediction]:
    """The baseline that answers the most frequent code of `train` to every note of `split`.

    Ties go to the first code in order. `note_ids` keeps those notes only: pass the ids that the
    models were scored on, where prompts were left out as too long.

    Raises:
        MissingError: a file does not exist.
        DataError: a split without notes.
    """
    counts = Counter(row["code"] for row in _read_golds(train))
    code = min(counts, key=lambda code: (-counts[code], code))
    wanted = None if note_ids is None else set(note_ids)
    return [
        Prediction(row["note_id"], row["patient_id"], row["code"], code)
        for row in _read_golds(split)
        if wanted is None or row["note_id"] in wanted
    ]


def evaluate(
    predictions: Sequence[Prediction],
    out: Path,
    *,
    train: Path | None = None,
    num_bootstrap: int = 1000,
    seed: int = 1,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Score predictions and write `out/predictions.jsonl` and, last, `out/scores.json`.

    The file holds `scores` (as returned, with intervals by patient), `labels` (the frozen list of
    each level), `reasons` (why answers were unusable, counted), `chapters`, `subgroups` (of
    patients whose groups are known), with `train` also `thirds` (head, middle and tail by frequency
    there), and `facts` as given.

    Raises:
        DataError: no predictions, or a gold label that is not a billable code.
    """
    labels = scoring.gold_labels(predictions)
    scores = scoring.score_predictions(
        predictions, labels=labels, num_bootstrap=num_bootstrap, seed=seed
    )
    reasons = Counter(row.reason for row in predictions if row.reason is not None)
    scores["share_unknown_code"] = reasons["unknown_code"] / len(predictions)
    report = {
        "scores": scores,
        "labels": labels,
        "reasons": dict(sorted(reasons.items())),
        "chapters": scoring.score_chapters(predictions),
        "subgroups": scoring.compare_groups(predictions, num_bootstrap=num_bootstrap, seed=seed),
        "facts": {"num_bootstrap": num_bootstrap, "seed": seed, **(facts or {})},
    }
    if train is not None:
        training_codes = [row["code"] for row in _read_golds(train)]
        report["thirds"] = scoring.score_thirds(predictions, training_codes)
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / PREDICTIONS, scoring.format_predictions(predictions))
    write_json(out / SCORES, report)
    return scores


def _read_golds(split: Path) -> list[dict[str, str]]:
    """Ids and gold codes of a split, without its text."""
    import pyarrow.parquet

    if not split.is_file():
        raise MissingError(f"no notes at {split}. Build them first: deepicd notes build.")
    columns = ["note_id", "patient_id", "code"]
    rows: list[dict[str, str]] = pyarrow.parquet.read_table(split, columns=columns).to_pylist()
    if not rows:
        raise DataError(f"{split} holds no notes. Generate more (data.num_notes).")
    return rows
