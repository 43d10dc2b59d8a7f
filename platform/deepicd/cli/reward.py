"""`deepicd reward`: what a reward makes of one answer."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    gold: Annotated[str, typer.Option(help="Gold code, for example I25.10.")],
    answer: Annotated[str, typer.Option(help="Model text, with or without the leading <think>.")],
    preset: Annotated[str, typer.Option(help="default, strict or reference.")] = "default",
    note: Annotated[Path | None, typer.Option(help="File with the admission note.")] = None,
    curve: Annotated[float, typer.Option(help="Exponent of the hierarchical credit.")] = 1.0,
    explain: Annotated[bool, typer.Option("--explain", help="Show the tree path and why.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print total and components of one answer's reward.

    Example: deepicd reward --gold I25.10 --answer "chest pain</think><diagnosis>I25.9</diagnosis>"
    """
    from deepicd.cli.console import print_outcome
    from deepicd.pipeline.evaluation import explain_reward

    result = explain_reward(answer, gold, preset=preset, hierarchy_curve=curve, note=note)
    lines = result.lines if explain else result.summary
    print_outcome(result.as_dict(), lines, as_json=as_json)
