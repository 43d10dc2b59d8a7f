"""`deepicd cluster`: descriptions of clusters, and what is made of them."""

from pathlib import Path
from typing import Annotated

import typer

from deepicd.cli.options import JsonOption, ReplaceOption

app = typer.Typer(
    help="Describe, render, check and launch clusters.",
    no_args_is_help=True,
    epilog="Example: deepicd cluster check cluster/local.yaml",
)

_FileArgument = Annotated[Path, typer.Argument(help="Cluster description (YAML).")]
_PricesOption = Annotated[
    Path | None, typer.Option(help="Price table (TOML) instead of the package's own.")
]


@app.callback()
def _group() -> None:
    pass


@app.command(epilog="Example: deepicd cluster check cluster/aws.yaml --json")
def check(path: _FileArgument, prices: _PricesOption = None, is_json: JsonOption = False) -> None:
    """Check a description: schema, this platform's rules, the public tools' own schemas.

    Exit codes: 0 it can be launched, 2 at least one fault, 4 no such file.
    """
    from deepicd.cli.console import print_outcome
    from deepicd.pipeline.cluster.check import check_cluster

    cluster = check_cluster(path, prices)
    outcome = {"cluster": cluster.name, "place": cluster.place.kind, "profile": cluster.profile}
    line = f"{path}: {cluster.name} ({cluster.place.kind}, {cluster.profile}) can be launched"
    print_outcome(outcome, [line], as_json=is_json)


@app.command(epilog="Example: deepicd cluster render cluster/aws.yaml --out rendered/aws")
def render(
    path: _FileArgument,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the files.")],
    yes: ReplaceOption = False,
    is_json: JsonOption = False,
) -> None:
    """Write the files that `ray`, `kubectl`, `sbatch` and `sky` read; the same bytes each time."""
    from deepicd.cli.console import print_outcome
    from deepicd.pipeline.cluster.rendering import render_cluster

    files = render_cluster(path, out, may_replace=yes)
    print_outcome({"out": str(out), "files": files}, (f"{out}/{f}" for f in files), as_json=is_json)
