"""`deepicd query`: admission notes to a running endpoint.

In: files, folders or standard input. Out: a table, or with `--json` one JSON object a line, in the
order of the files. Exit code 8 when a note was refused, 3 when the only one is empty or no text.
"""

from typing import Annotated, Any

import typer

from deepicd.cli.options import expand_place
from deepicd.errors import ServingError


def command(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE]...",
            help="Text files, folders, or - for standard input.",
            callback=expand_place,
        ),
    ] = None,
    url: Annotated[str, typer.Option(help="Address of the endpoint.")] = "http://127.0.0.1:8000",
    is_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    num_samples: Annotated[
        int | None,
        typer.Option(
            "--samples", min=0, max=64, help="Answers sampled for the confidence; 0: none."
        ),
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
        typer.Option(
            min=0, max=1, help="Also name the deepest level (code, category, chapter) this sure."
        ),
    ] = None,
    num_concurrent: Annotated[int, typer.Option("--concurrent", min=1, help="Notes at once.")] = 4,
) -> None:
    """Ask the endpoint for the main ICD-10-CM code of each note.

    Example: deepicd query note.txt notes/ --json > replies.jsonl
    """
    from deepicd.cli.console import print_replies
    from deepicd.serving.client import Client, find_notes, read_token

    files = find_notes(paths or [])
    client = Client(url, read_token(), num_concurrent=num_concurrent)
    options: dict[str, Any] = {"min_confidence": min_confidence, "is_constrained": is_constrained}
    options |= {"include_evidence": has_evidence or None}
    options = {name: value for name, value in options.items() if value is not None}
    rows = client.diagnose_files(files, num_samples=num_samples, **options)
    refused = print_replies(rows, len(files), as_json=is_json)
    if refused:
        raise ServingError(f"{refused} of {len(files)} notes were refused; their rows say why.")
