"""What else answers the notes of a run, scored as its models are.

In: a run's folder and its experiment. Out: `RUN/evaluation/context.json`, and the answers that it
was scored from (`RUN/evaluation/context/SPLIT/NAME.jsonl`).

    majority       the most common code of training, to every note
    tfidf_linear   TF-IDF and a linear model (`notes.baselines`)
    zero_shot      the base model before any training
    sft            where every trial starts
    ceiling        the Bayes-optimal reader, where the corpus knows it

Decided here: the test split is the context of a run's winner, the validation split that of its
trials, which are scored there. The base model answers the first `evaluation.num_zero_shot` notes of
each, in the engine in which the SFT start then answers: one start of vLLM. The file is written once
and says nothing of a model that came later (`rows` does).
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepicd import codes, scoring
from deepicd.config import Experiment
from deepicd.files import write_atomically, write_json
from deepicd.paths import RunPaths
from deepicd.records import Prediction

if TYPE_CHECKING:
    from deepicd.inference.offline import LoadedModel, OfflineEngine

MAJORITY, LINEAR, ZERO_SHOT, START, CEILING = (
    *("majority", "tfidf_linear", "zero_shot", "sft", "ceiling"),
)
TEST, VALIDATION = "test", "validation"

TITLES: Mapping[str, str] = {
    MAJORITY: "majority code",
    LINEAR: "TF-IDF + linear model",
    ZERO_SHOT: "base model, zero-shot",
    START: "SFT start",
    CEILING: "ceiling (Bayes-optimal)",
}
"""Name → what people read, in the order they are shown."""

NUM_BOOTSTRAP = 1000

Row = dict[str, Any]


@contextmanager
def load_scored(
    paths: RunPaths, experiment: Experiment, model: Path, *, engine: "OfflineEngine"
) -> Iterator["LoadedModel"]:
    """A model of this run behind vLLM. Where it is the SFT start, the base model answers first, and
    its answers are kept for `write_context`.

    Raises:
        As `inference.offline.load_model` and `LoadedModel.swap`.
    """
    from deepicd.inference.offline import load_model

    number = experiment.evaluation.num_zero_shot
    has_base = model == paths.sft and experiment.sft.is_enabled and number > 0
    first = base_model(paths, experiment) if has_base else model
    with load_model(first, limits=experiment.limits, engine=engine) as answering:
        if has_base:
            for split in (TEST, VALIDATION):
                file = _answers_file(paths, split, ZERO_SHOT)
                _write_answers(file, _ask_first(answering, paths.split(split), number))
            answering.swap(model)
        yield answering


def _ask_first(answering: "LoadedModel", split: Path, num_notes: int) -> list[Prediction]:
    from deepicd.notes.split_files import read_first

    # Not `answer_split`: for so few notes Ray Data's tasks cost more than the answers.
    answers = answering.answer_notes(read_first(split, num_notes))
    return [answer for answer in answers if answer is not None]


def base_model(paths: RunPaths, experiment: Experiment) -> Path:
    """The model before SFT: the one that the experiment names, or the one that was built here."""
    return experiment.model.path or paths.model


def write_context(
    paths: RunPaths,
    experiment: Experiment,
    *,
    test: Sequence[Prediction],
    validation: Sequence[Prediction],
) -> list[Row]:
    """Score everything that a model of this run is compared with; returns what is written to
    `context.json` as `entries`.

    Each entry has `name`, `split`, `title`, `what` (a sentence), `num_notes` and `scores`
    (`scoring.score_predictions`, with intervals by patient). What is not known is left out: the
    ceiling with other notes than the embedded corpus, the base model where
    `evaluation.num_zero_shot` is 0.

    Args:
        paths: the run's folder: notes, and what `load_scored` left there.
        experiment: what is run.
        test: the SFT start's answers to the test split.
        validation: those to the first notes of the validation split; may be none.
    """
    from deepicd.notes.baselines import fit_linear

    baseline = fit_linear(paths.split("train"), num_notes=experiment.evaluation.num_rival_notes)
    _write_answers(_answers_file(paths, TEST, START), test)
    _write_answers(_answers_file(paths, VALIDATION, START), validation)
    if not experiment.sft.is_enabled:
        _take_start_for_base(paths)
    entries = []
    for split in (TEST, VALIDATION):
        ids = _asked_ids(paths, experiment, split)
        for name, answers in _cheap_answers(paths, baseline, split=split, note_ids=ids).items():
            _write_answers(_answers_file(paths, split, name), answers)
        for name in TITLES:
            # More notes may have been asked than trials are validated on.
            answers = [row for row in read_answers(paths, split, name) if row.note_id in ids]
            if answers:
                what = _describe(name, answers, experiment, baseline=baseline)
                entries.append(_entry(name, split, answers, what=what, seed=experiment.seed))
    report = {"format": 1, "num_bootstrap": NUM_BOOTSTRAP, "entries": entries}
    write_json(paths.context, report)
    return entries


def read_context(paths: RunPaths, split: str) -> list[Row]:
    """The entries of one split, in the order they are shown; empty where none were computed."""
    if not paths.context.is_file():
        return []
    entries = json.loads(paths.context.read_text(encoding="utf-8"))["entries"]
    return [entry for entry in entries if entry["split"] == split]


def read_answers(paths: RunPaths, split: str, name: str) -> list[Prediction]:
    """The answers that an entry was scored from; empty where there are none."""
    file = _answers_file(paths, split, name)
    return scoring.read_predictions(file) if file.is_file() else []


def _asked_ids(paths: RunPaths, experiment: Experiment, split: str) -> set[str]:
    """Notes of the test split that the start answered; notes on which trials are validated."""
    import pyarrow.parquet

    if split == TEST:
        return {row.note_id for row in read_answers(paths, TEST, START)}
    rows = pyarrow.parquet.read_table(paths.split(split), columns=["note_id"])
    ids: list[str] = rows["note_id"].to_pylist()
    # 0 takes all of them.
    return set(ids[: experiment.data.num_validation or None])


def _cheap_answers(
    paths: RunPaths, baseline: Any, *, split: str, note_ids: Collection[str]
) -> dict[str, list[Prediction]]:
    """What answers without vLLM."""
    from deepicd.evaluation import majority_predictions
    from deepicd.notes.baselines import answer_split, read_ceiling

    file = paths.split(split)
    answers = {
        MAJORITY: majority_predictions(paths.split("train"), file, note_ids=note_ids),
        LINEAR: answer_split(baseline, file, note_ids=note_ids),
        CEILING: read_ceiling(file, note_ids=note_ids),
    }
    return {name: rows for name, rows in answers.items() if rows}


def _take_start_for_base(paths: RunPaths) -> None:
    """Without SFT the start is the base model: its answers are those of both."""
    for split in (TEST, VALIDATION):
        _write_answers(_answers_file(paths, split, ZERO_SHOT), read_answers(paths, split, START))


def _entry(name: str, split: str, answers: Sequence[Prediction], *, what: str, seed: int) -> Row:
    scores = scoring.score_predictions(answers, num_bootstrap=NUM_BOOTSTRAP, seed=seed)
    return {
        "name": name,
        "split": split,
        "title": TITLES[name],
        "what": what,
        "num_notes": len(answers),
        "scores": scores,
    }


def _describe(
    name: str, answers: Sequence[Prediction], experiment: Experiment, *, baseline: Any
) -> str:
    """What an entry is, in a sentence."""
    base = experiment.model.path
    is_fitted = experiment.sft.is_enabled
    sentences = {
        MAJORITY: f"Answers {codes.dotted(answers[0].prediction or '')}, the most common code of "
        "training, to every note.",
        LINEAR: "Linear support vector machine on TF-IDF of words and word pairs; learnt from "
        f"{baseline.num_train:,} training notes, knows {baseline.num_labels} codes.",
        ZERO_SHOT: f"{base.name} before any training, asked in the same way."
        if base
        else "Built here with random weights: not trained, asked in the same way.",
        START: "Where every trial starts, after SFT."
        if is_fitted
        else "Where every trial starts: the base model, as SFT is switched off.",
        CEILING: "The corpus's own probabilities: no reader of the notes can expect more.",
    }
    return sentences[name]


def _answers_file(paths: RunPaths, split: str, name: str) -> Path:
    return paths.evaluation / "context" / split / f"{name}.jsonl"


def _write_answers(file: Path, answers: Sequence[Prediction]) -> None:
    # No empty file: `read_predictions` refuses one.
    if not answers:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, scoring.format_predictions(answers))
