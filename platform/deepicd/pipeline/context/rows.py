"""A model among everything else that answered the same notes.

In: what `entries` wrote, a model's scores and its answers. Out: rows for people and for JSON, each
with the paired difference in hierarchical F1. Decided here: the winner of a sweep is set beside the
others on the test split, its trials on the validation split, where they were scored; a difference
is of the notes that both answered, and is said in words once, so that a report, a card and a table
say the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deepicd import scoring
from deepicd.config import Experiment
from deepicd.paths import RunPaths, trial_folder, validation_file
from deepicd.pipeline.context.entries import (
    CEILING,
    NUM_BOOTSTRAP,
    START,
    TEST,
    TITLES,
    VALIDATION,
    Row,
    read_answers,
    read_context,
)
from deepicd.records import Prediction, Trial

if TYPE_CHECKING:
    from deepicd.sweeps.results.status import SweepStatus

START_MODEL: Mapping[str, str] = {
    "name": START,
    "title": TITLES[START],
    "what": "Where every trial starts.",
}
"""The row of the SFT start, without its scores."""

_MAX_TRIALS = 10
"""Trials beside the best one; the sweep's own tables have all."""


@dataclass(frozen=True)
class Model:
    """A model of the run that stands in a context."""

    row: Mapping[str, Any]
    """Its `name`, `title`, `what` and `scores`."""
    answers: Sequence[Prediction]
    """To notes of the split; empty where they are gone."""


def set_beside(
    paths: RunPaths, model: Model, *, split: str, seed: int, further: Sequence[Model] = ()
) -> list[Row]:
    """The context of a split with a model in it, the ceiling last.

    Args:
        paths: the run's folder.
        model: the model in question; an entry of its name gives way to it.
        split: `test` or `validation`.
        seed: of the bootstrap.
        further: other models of the run, in order.

    Returns:
        Entries, each with `is_model` and `paired`: the model minus the entry on the notes that both
        answered (`num_notes`, `hierarchical_f1` of the model there, `difference`, `low`, `high`,
        `p`, and a `verdict` in words), None for the model itself and where no note is shared.
    """
    known = [
        Model(entry, read_answers(paths, split, entry["name"]))
        for entry in read_context(paths, split)
        if entry["name"] != model.row["name"]
    ]
    ceiling = [each for each in known if each.row["name"] == CEILING]
    others = [each for each in known if each.row["name"] != CEILING]
    return [
        {
            **_as_row(each, split),
            "is_model": each is model,
            "paired": None if each is model else _compare(model.answers, each.answers, seed=seed),
        }
        for each in (*others, *further, model, *ceiling)
    ]


def _as_row(model: Model, split: str) -> Row:
    # A trial's report is a row of numbers, in which a count is a float.
    num_notes = int(model.row["scores"].get("num_notes", len(model.answers)))
    return {"split": split, "num_notes": num_notes, **model.row}


def winner_of(trial: Trial, scores: Mapping[str, float]) -> Row:
    """The row of a sweep's winner, with its scores on the test split."""
    what = f"The sweep's winner, trial {trial.id}."
    return {"name": f"trial-{trial.id}", "title": "best trial", "what": what, "scores": scores}


def rows_of_test(paths: RunPaths, model: Mapping[str, Any], *, seed: int) -> list[Row]:
    """As `set_beside`, for the row of a model whose answers to the test split lie in
    `evaluation/NAME`.
    """
    from deepicd.evaluation import PREDICTIONS

    file = paths.evaluation / model["name"] / PREDICTIONS
    answers = scoring.read_predictions(file) if file.is_file() else []
    return set_beside(paths, Model(model, answers), split=TEST, seed=seed)


def rows_of_trials(
    paths: RunPaths, experiment: Experiment, trials: Sequence[Trial], *, winner: str | None
) -> list[Row]:
    """As `set_beside`, for a sweep's winner on the validation split, or its best trial so far,
    beside the `_MAX_TRIALS` best others as well; empty before any trial was validated, or where no
    context was computed.
    """
    metric = experiment.sweep.metric
    scored = [trial for trial in trials if metric in trial.validation]
    if not scored or not paths.context.is_file():
        return []
    # The winner first, even where another trial scored higher: its configuration has won.
    best, *others = sorted(
        scored, key=lambda trial: (trial.id != winner, -trial.validation[metric])
    )
    what = "The sweep's winner" if best.id == winner else "The best trial so far"
    model = _trial_model(paths, best, metric, what=f"{what}, at its best validation.")
    further = [
        _trial_model(paths, trial, metric, what="At its best validation.")
        # Reversed: the rows climb up to the best, which stands after them.
        for trial in reversed(others[:_MAX_TRIALS])
    ]
    seed = experiment.seed
    return set_beside(paths, model, split=VALIDATION, seed=seed, further=further)


def with_context(paths: RunPaths, status: "SweepStatus") -> "SweepStatus":
    """A sweep's status with the context of its trials."""
    winner = status.decision.winner if status.decision else None
    rows = rows_of_trials(paths, status.experiment, status.trials, winner=winner)
    return replace(status, context=rows)


def _trial_model(paths: RunPaths, trial: Trial, metric: str, *, what: str) -> Model:
    row = {"name": f"trial-{trial.id}", "title": f"trial {trial.id}", "what": what}
    return Model({**row, "scores": trial.validation}, _best_answers(paths, trial, metric))


def _best_answers(paths: RunPaths, trial: Trial, metric: str) -> list[Prediction]:
    """A trial's answers at its best validation; empty where they are gone."""
    from deepicd.sweeps.results.trials import best_validation, read_history

    best = best_validation(read_history(paths.tune / trial.id), metric, is_needed=False)
    if best is None:
        return []
    file = validation_file(trial_folder(paths.sweep, trial.id), int(best["step"]))
    return scoring.read_predictions(file) if file.is_file() else []


def _compare(model: Sequence[Prediction], other: Sequence[Prediction], *, seed: int) -> Row | None:
    """The model minus the other on the notes that both answered."""
    shared = {row.note_id for row in model} & {row.note_id for row in other}
    if not shared:
        return None
    ours, theirs = ([row for row in rows if row.note_id in shared] for rows in (model, other))
    paired = scoring.paired_bootstrap(ours, theirs, num_bootstrap=NUM_BOOTSTRAP, seed=seed)
    return {
        "num_notes": len(ours),
        "hierarchical_f1": scoring.hierarchical_f1(ours),
        **paired,
        "verdict": _verdict(paired),
    }


def _verdict(paired: Mapping[str, float]) -> str:
    """Where the model lies, in words."""
    low, high, difference = paired["low"], paired["high"], paired["difference"]
    few = scoring.mark_few(paired)
    if low <= 0 <= high:
        return f"no difference is seen: {difference:+.3f} [{low:+.3f}, {high:+.3f}]{few}"
    if difference > 0:
        return f"better by {difference:.3f} [{low:.3f}, {high:.3f}]{few}"
    # Turned round with its ends: "worse by" takes no sign.
    return f"worse by {-difference:.3f} [{-high:.3f}, {-low:.3f}]{few}"
