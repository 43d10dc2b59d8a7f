"""`deepicd codes`: look up ICD-10-CM codes."""

import json
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Look up ICD-10-CM codes.")

MAX_LISTED = 12
"""Siblings and children printed for a person; JSON has all."""


@app.callback()
def _root() -> None:
    """Look up ICD-10-CM codes."""


@app.command()
def show(
    code: Annotated[str, typer.Argument(help="A code, block or chapter: M51.16, M50-M54, XIII.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print path, title, releases, siblings, children and successors of one node.

    Example: deepicd codes show M51.16
    """
    from deepicd import codes

    table = codes.describe(code)
    if as_json:
        typer.echo(json.dumps(table, indent=2))
        return
    for name, value in table.items():
        typer.echo(f"{name:13} {_as_text(value)}")


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(f"\n  {node:10} {title}" for node, title in value.items())
    if isinstance(value, list):
        more = f" ... ({len(value)} in all)" if len(value) > MAX_LISTED else ""
        return ", ".join(map(str, value[:MAX_LISTED])) + more or "none"
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else value
