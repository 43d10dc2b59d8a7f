"""`deepicd codes`: look up ICD-10-CM codes."""

from typing import Annotated

import typer

from deepicd.cli.options import JsonOption, ShowByDefault

app = typer.Typer(
    cls=ShowByDefault,
    no_args_is_help=True,
    help="Look up ICD-10-CM codes.",
    epilog="Example: deepicd codes M51.16",
)


@app.callback()
def _root() -> None:
    """Look up ICD-10-CM codes."""


@app.command()
def show(
    code: Annotated[
        str, typer.Argument(help="A code, block or chapter: M51.16, M50-M54, XIII, M00-M99.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Print path, title, releases, siblings, children and successors of one node.

    Example: deepicd codes show M51.16
    """
    from deepicd import codes
    from deepicd.cli.console import print_outcome
    from deepicd.cli.text import code_lines

    node = codes.describe(code)
    print_outcome(node, code_lines(node), as_json=as_json)
