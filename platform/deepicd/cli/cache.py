"""`deepicd cache`: stages that runs share, how large they are, and which of them go.

In: a folder of runs. Out: a table, or JSON with `--json`. Decided here: what is removed is named
before, and `--yes` is asked for.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from deepicd.cli.options import JsonOption, RunsOption

app = typer.Typer(
    no_args_is_help=True,
    help="List and prune the stages that runs share.",
    epilog="Example: deepicd cache list",
)


@app.command("list")
def list_entries(runs: RunsOption = Path("runs"), as_json: JsonOption = False) -> None:
    """Every stage in RUNS/cache: its size, what removing it would free, when it was last used.

    Example: deepicd cache list --runs runs
    """
    from deepicd.cli.console import print_outcome
    from deepicd.cli.text import cache_lines
    from deepicd.paths import CACHE
    from deepicd.pipeline import cache

    entries = cache.list_entries(runs / CACHE)
    rows = [asdict(entry) for entry in entries]
    lines = cache_lines(entries, f"{runs / CACHE} holds no stage")
    print_outcome(rows, lines, as_json=as_json)


@app.command()
def prune(
    runs: RunsOption = Path("runs"),
    older_than: Annotated[
        float | None, typer.Option(help="Days since an entry was used.", min=0)
    ] = None,
    keep: Annotated[
        int | None, typer.Option(help="Entries of each stage that stay, the last used.", min=0)
    ] = None,
    old_code: Annotated[
        bool, typer.Option("--old-code", help="Only what this code cannot take over.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove shared stages that all given conditions let go; no run needs them to stay whole.

    Examples:

    deepicd cache prune --older-than 30 --dry-run

    deepicd cache prune --old-code --yes
    """
    from deepicd.cli.console import print_outcome
    from deepicd.cli.text import cache_lines
    from deepicd.pipeline import cache

    age_s = None if older_than is None else older_than * 86_400
    conditions = cache.Conditions(older_than_s=age_s, keep=keep, is_old_code=old_code)
    gone = cache.prune(runs, conditions, is_shown_only=dry_run, may_delete=yes)
    lines = cache_lines(gone, "nothing to remove: no shared stage meets the conditions")
    print_outcome([asdict(entry) for entry in gone], lines, as_json=as_json)
