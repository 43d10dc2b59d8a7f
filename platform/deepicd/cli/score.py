"""`deepicd score`: score a file of predictions, alone or against another model's."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def command(
    file: Annotated[Path, typer.Argument(help="JSON lines: patient_id, gold, prediction.")],
    against: Annotated[Path | None, typer.Option(help="Same notes, another model.")] = None,
    num_bootstrap: Annotated[int, typer.Option(help="Replicates by patient; 0: none.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the replicates.")] = 0,
    confidence: Annotated[float, typer.Option(help="Share that an interval covers.")] = 0.95,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print accuracy, macro-F1 and hierarchical precision, recall and F1 with intervals.

    Example: deepicd score predictions.jsonl --against champion.jsonl --json
    """
    from deepicd.scoring import score_files

    result = score_files(
        file, against, num_bootstrap=num_bootstrap, seed=seed, confidence=confidence
    )
    if as_json:
        typer.echo(json.dumps(result, indent=2))
        return
    for line in _as_lines(result):
        typer.echo(line)


def _as_lines(result: dict[str, Any]) -> list[str]:
    lines = []
    other = result.get("against", {})
    for name, value in result.items():
        if isinstance(value, dict) or name.endswith(("_low", "_high")):
            continue
        beside = f"   against {_number(name, other)}" if other else ""
        lines.append(f"{name:24} {_number(name, result)}{beside}")
    if "paired" in result:
        values = ", ".join(f"{name} {value:.4f}" for name, value in result["paired"].items())
        lines.append(f"hierarchical F1, paired: {values}")
    return lines


def _number(name: str, scores: dict[str, Any]) -> str:
    if name.startswith("num_"):
        return f"{scores[name]}"
    interval = ""
    if f"{name}_low" in scores:
        interval = f" [{scores[f'{name}_low']:.4f}, {scores[f'{name}_high']:.4f}]"
    return f"{scores[name]:.4f}{interval}"
