"""`deepicd evaluate MODEL SPLIT`: greedy answers of a model, scored, with intervals.

In: a Hugging Face folder (or the word `majority`) and a Parquet split. Out: OUT/predictions.jsonl,
OUT/scores.json, and a table.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepicd.cli.registry import JsonOption, print_table

if TYPE_CHECKING:
    from deepicd.records import Prediction

SHOWN = (
    "macro_f1_chapter", "macro_f1_category", "macro_f1_full",
    "hierarchical_precision", "hierarchical_recall", "hierarchical_f1", "share_unparsable",
)  # fmt: skip
"""Scores in the table; the file holds all."""


def command(
    model: Annotated[str, typer.Argument(help="Model folder, or `majority` for that baseline.")],
    split: Annotated[Path, typer.Argument(help="Parquet file of one split of notes.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the results.")],
    experiment: Annotated[
        Path | None, typer.Option(help="Experiment with the limits (default: the run's own).")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="First notes only; 0 takes all.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Score MODEL on SPLIT.

    Example: deepicd evaluate runs/demo/sft runs/demo/notes/test.parquet --out runs/demo/again
    """
    from deepicd.evaluation import evaluate

    predictions = answer_split(model, split, experiment, limit=limit)
    train = split.with_name("train.parquet")
    scores = evaluate(predictions, out, train=train if train.is_file() else None)
    if as_json:
        typer.echo(json.dumps(scores, indent=2))
        return
    rows = [
        [
            name,
            f"{scores[name]:.4f}",
            f"{scores[f'{name}_low']:.4f} to {scores[f'{name}_high']:.4f}",
        ]
        for name in SHOWN
    ]
    print_table(("", f"{len(predictions)} notes", "95% interval"), rows)


def answer_split(
    model: str, split: Path, experiment: Path | None, *, limit: int
) -> "list[Prediction]":
    """Predictions of the model, or of the baseline of that name."""
    from deepicd.cli.promote import experiment_of
    from deepicd.config import load_experiment
    from deepicd.evaluation import majority_predictions, predict
    from deepicd.inference.offline import OfflineEngine
    from deepicd.paths import RunPaths

    if model == "majority":
        return majority_predictions(split.with_name("train.parquet"), split)[: limit or None]
    own = RunPaths(split.resolve().parent.parent).experiment
    known = load_experiment(experiment) if experiment else experiment_of(own)
    return predict(
        Path(model),
        split,
        limits=known.limits,
        limit=limit,
        engine=OfflineEngine.for_profile(known.profile, seed=known.seed),
    )
