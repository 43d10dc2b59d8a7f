"""`deepicd query`: admission notes to a running endpoint.

In: files, folders or standard input. Out: a table, or with `--json` one JSON object a line, in the
order of the files. Exit code 8 when a note was refused.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from deepicd.errors import ServingError

COLUMNS = ("source", "code", "title", "chapter", "confidence", "version", "prediction id")


def command(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE]...", help="Text files, folders, or - for standard input."),
    ] = None,
    url: Annotated[str, typer.Option(help="Address of the endpoint.")] = "http://127.0.0.1:8000",
    is_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    num_samples: Annotated[
        int | None, typer.Option("--samples", help="Answers sampled for the confidence; 0: none.")
    ] = None,
    is_constrained: Annotated[
        bool | None,
        typer.Option("--constrained/--free", help="End every answer in a billable code, or not."),
    ] = None,
    has_evidence: Annotated[
        bool, typer.Option("--evidence", help="Add what the reasoning repeats of the note.")
    ] = False,
    min_confidence: Annotated[
        float | None,
        typer.Option(help="Also name the deepest level (code, category, chapter) this sure."),
    ] = None,
    num_concurrent: Annotated[int, typer.Option("--concurrent", min=1, help="Notes at once.")] = 4,
) -> None:
    """Ask the endpoint for the main ICD-10-CM code of each note.

    Example: deepicd query note.txt notes/ --json > replies.jsonl
    """
    from deepicd.serving.client import Client, find_notes, read_token

    files = find_notes(paths or [])
    client = Client(url, read_token(), num_concurrent=num_concurrent)
    wanted = {
        "is_constrained": is_constrained,
        "include_evidence": has_evidence or None,
        "min_confidence": min_confidence,
    }
    options = {name: value for name, value in wanted.items() if value is not None}
    rows = client.diagnose_files(files, num_samples=num_samples, **options)
    refused = (print_json if is_json else print_table)(with_progress(rows, len(files)))
    if refused:
        raise ServingError(f"{refused} of {len(files)} notes were refused; their rows say why.")


def with_progress(rows: Iterable[dict[str, Any]], total: int) -> Iterator[dict[str, Any]]:
    """The rows, with a progress bar on standard error where that is a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    shown = total > 1 and sys.stderr.isatty()
    return iter(track(rows, "notes", total=total, console=console, disable=not shown))


def print_json(rows: Iterable[dict[str, Any]]) -> int:
    """One JSON object a line, at once; returns how many notes were refused."""
    refused = 0
    for row in rows:
        typer.echo(json.dumps(row, ensure_ascii=False))
        refused += "error" in row
    return refused


def print_table(rows: Iterable[dict[str, Any]]) -> int:
    """A table; a single reply also shows its reasoning. Returns how many notes were refused."""
    from rich.console import Console
    from rich.table import Table

    found = list(rows)
    table = Table(*COLUMNS)
    for row in found:
        table.add_row(*describe(row))
    console = Console()
    console.print(table)
    if len(found) == 1 and found[0].get("reasoning"):
        console.print(found[0]["reasoning"], markup=False, highlight=False)
    return sum("error" in row for row in found)


def describe(row: dict[str, Any]) -> tuple[str, ...]:
    """Cells of one reply, in the order of `COLUMNS`."""
    from rich.markup import escape

    if "error" in row:
        return escape(row["source"]), "–", escape(row["error"]), "–", "–", "–", "–"
    confidence = "–" if row["confidence"] is None else f"{row['confidence']:.2f}"
    title = row["title"] or f"unusable answer: {row['reason']}"
    code, chapter = row["code_dotted"] or "–", row["chapter"] or "–"
    texts = (row["source"], code, title, chapter, confidence, row["model_version"])
    return (*map(escape, texts), row["prediction_id"])
