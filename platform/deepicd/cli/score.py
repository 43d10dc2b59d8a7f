"""`deepicd score`: score a file of predictions, alone or against another model's."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    file: Annotated[Path, typer.Argument(help="JSON lines: patient_id, gold, prediction.")],
    against: Annotated[Path | None, typer.Option(help="Same notes, another model.")] = None,
    num_bootstrap: Annotated[
        int, typer.Option(min=0, max=100_000, help="Replicates by patient; 0: none.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of the replicates.")] = 0,
    confidence: Annotated[
        float, typer.Option(min=0, max=1, help="Share that an interval covers.")
    ] = 0.95,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print accuracy, macro-F1 and hierarchical precision, recall and F1 with intervals.

    Example: deepicd score predictions.jsonl --against champion.jsonl --json
    """
    from deepicd.cli.console import print_outcome
    from deepicd.cli.text import score_lines
    from deepicd.scoring import score_files

    result = score_files(
        file, against, num_bootstrap=num_bootstrap, seed=seed, confidence=confidence
    )
    print_outcome(result, score_lines(result), as_json=as_json)
