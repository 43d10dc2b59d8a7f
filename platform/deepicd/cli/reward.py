"""`deepicd reward`: what a reward makes of one answer."""

import json
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
    from deepicd.rewards.explanation import score_text

    result = score_text(answer, gold, preset=preset, hierarchy_curve=curve, note=_read_note(note))
    if as_json:
        typer.echo(json.dumps(result.as_dict(), indent=2))
        return
    for line in result.lines if explain else result.summary:
        typer.echo(line)


def _read_note(path: Path | None) -> str | None:
    from deepicd.errors import MissingError

    if path is None:
        return None
    if not path.is_file():
        raise MissingError(f"no note at {path}; --note takes a text file")
    return path.read_text(encoding="utf-8", errors="replace")
