"""`deepicd evaluate MODEL SPLIT`: greedy answers of a model, scored, with intervals.

In: a Hugging Face folder (or the word `majority`) and a Parquet split. Out: OUT/predictions.jsonl,
OUT/scores.json, and a table.
"""

from pathlib import Path
from typing import Annotated

import typer

from deepicd.cli.options import JsonOption, ReplaceOption, expand_place

_SHOWN = (
    "macro_f1_chapter", "macro_f1_category", "macro_f1_full",
    "hierarchical_precision", "hierarchical_recall", "hierarchical_f1", "share_unparsable",
)  # fmt: skip
"""Scores in the table; the file holds all."""


def command(
    model: Annotated[
        str,
        typer.Argument(
            help="Model folder, or `majority` for that baseline.", callback=expand_place
        ),
    ],
    split: Annotated[Path, typer.Argument(help="Parquet file of one split of notes.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the results.")],
    experiment: Annotated[
        Path | None, typer.Option(help="Experiment with the limits (default: the run's own).")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="First notes only; 0 takes all.")] = 0,
    yes: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score MODEL on SPLIT.

    Example: deepicd evaluate runs/demo/sft runs/demo/notes/test.parquet --out runs/demo/again
    """
    from deepicd.cli.console import print_outcome, print_table
    from deepicd.cli.text import score_cells, subgroup_lines
    from deepicd.pipeline.evaluation import evaluate_model

    scores = evaluate_model(model, split, out, experiment=experiment, limit=limit, may_replace=yes)
    if as_json:
        print_outcome(scores, [], as_json=True)
        return
    rows = (score_cells(scores, name) for name in _SHOWN)
    print_table(("", f"{scores['num_notes']} notes", "95% interval"), rows)
    if scores["subgroups"]:
        print_outcome(None, subgroup_lines(scores["subgroups"]), as_json=False)
