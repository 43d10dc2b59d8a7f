"""A model's answers to a split, and one answer's reward, as the commands ask for them.

In: a model folder and a Parquet split, or an answer and its gold code. Out: scores with intervals,
or the explanation of a reward. Decided here: the limits are those of the run that the split lies
in, unless an experiment file is named.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepicd.errors import MissingError
from deepicd.files import refuse_existing
from deepicd.text_lines import read_text

if TYPE_CHECKING:
    from deepicd.records import Prediction
    from deepicd.rewards.explanation import Explanation

MAJORITY = "majority"
"""Stands for the baseline that answers the most common code of the training split."""


def evaluate_model(
    model: str,
    split: Path,
    out: Path,
    *,
    experiment: Path | None,
    limit: int,
    may_replace: bool = False,
) -> dict[str, Any]:
    """Scores of a model on a split, and its `subgroups` of patients (`scoring.compare_groups`).

    Args:
        model: Hugging Face folder, or `majority`.
        split: Parquet file of one split of notes; `train.parquet` beside it tells seen from unseen
            codes.
        out: folder to write `predictions.jsonl` and `scores.json` to.
        experiment: experiment file with the limits; None takes the run's own, or the defaults.
        limit: first notes only; 0 takes all.
        may_replace: whether results that lie in `out` may be replaced.

    Raises:
        ConfigError: results lie there and may not be replaced.
        MissingError: a file is not there.
        CheckpointError: vLLM failed on the model.
    """
    from deepicd.evaluation import PREDICTIONS, SCORES, evaluate

    # Asked before the model answers, which may take hours.
    files = [out / PREDICTIONS, out / SCORES]
    refuse_existing(files, may_replace=may_replace, option="--out")
    predictions = _answer_split(model, split, experiment, limit=limit)
    train = split.with_name("train.parquet")
    scores = evaluate(predictions, out, train=train if train.is_file() else None)
    written = json.loads((out / SCORES).read_text(encoding="utf-8"))
    return {**scores, "subgroups": written["subgroups"]}


def _answer_split(
    model: str, split: Path, experiment: Path | None, *, limit: int
) -> "list[Prediction]":
    from deepicd.config import load_experiment
    from deepicd.evaluation import majority_predictions, predict
    from deepicd.inference.offline import OfflineEngine
    from deepicd.paths import RunPaths
    from deepicd.pipeline.folder.command import experiment_or_defaults

    if model == MAJORITY:
        # A limit of 0 takes all.
        return majority_predictions(split.with_name("train.parquet"), split)[: limit or None]
    # A split of a run lies at RUN/notes/SPLIT.parquet.
    own = RunPaths(split.resolve().parent.parent).experiment
    limits_of = load_experiment(experiment) if experiment else experiment_or_defaults(own)
    return predict(
        Path(model),
        split,
        limits=limits_of.limits,
        limit=limit,
        engine=OfflineEngine.for_profile(limits_of.profile, seed=limits_of.seed),
    )


def explain_reward(
    answer: str, gold: str, *, preset: str, hierarchy_curve: float, note: Path | None
) -> "Explanation":
    """What a reward makes of one answer; `note` is a text file with the admission note.

    Raises:
        MissingError: there is no such note.
        DataError: the note is no text.
        ConfigError: no such preset, or the gold code is none.
    """
    from deepicd.rewards.explanation import score_text

    if note is not None and not note.is_file():
        raise MissingError(f"no note at {note}; --note takes a text file")
    text = None if note is None else read_text(note)
    return score_text(answer, gold, preset=preset, hierarchy_curve=hierarchy_curve, note=text)
