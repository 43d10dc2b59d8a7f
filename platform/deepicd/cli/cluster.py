"""`deepicd cluster`: descriptions of clusters."""

from pathlib import Path
from typing import Annotated

import typer

from deepicd.cli.options import JsonOption

app = typer.Typer(
    help="Descriptions of clusters.",
    no_args_is_help=True,
    epilog="Example: deepicd cluster check cluster/local.yaml",
)


@app.callback()
def _group() -> None:
    pass


@app.command(epilog="Example: deepicd cluster check cluster/local.yaml")
def check(
    path: Annotated[Path, typer.Argument(help="Description for `ray up` (YAML).")],
    is_json: JsonOption = False,
) -> None:
    """Check a description against Ray's schema and this platform's rules."""
    from deepicd.cli.console import print_outcome
    from deepicd.clusters.description import check_description, read_description

    table = read_description(path)
    check_description(table, source=str(path))
    cluster = {"cluster": table["cluster_name"], "provider": table["provider"]["type"]}
    line = f"{path}: {cluster['cluster']} ({cluster['provider']}) can be launched"
    print_outcome(cluster, [line], as_json=is_json, indent=None)
