"""`deepicd challenge`: try a version beside the champion, as shadow or as canary.

In: a registry and a version. Out: the registry's event; an endpoint that follows the registry
changes by itself.
"""

from dataclasses import asdict
from getpass import getuser
from typing import Annotated

import typer

from deepicd.cli.options import RegistryOption
from deepicd.cli.promotion.registry import JsonOption

app = typer.Typer(
    no_args_is_help=True,
    help="Try a version beside the champion.",
    epilog="Example: deepicd challenge shadow v0003 --registry runs/registry",
)

NameArgument = Annotated[str, typer.Argument(metavar="VERSION", help="Version to try.")]
_ReasonOption = Annotated[str, typer.Option(help="Why, for the audit log.")]


@app.command()
def shadow(
    name: NameArgument,
    registry: RegistryOption,
    reason: _ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let VERSION answer a copy of every note; clients never see its answers.

    Example: deepicd challenge shadow v0003 --registry runs/demo/registry
    """
    from deepicd.cli.console import print_outcome
    from deepicd.promotion.remote_registry import open_registry

    reason = reason or f"by {getuser()}"
    event = open_registry(registry).challenge(name, reason=reason, is_shadow=True)
    line = f"{event.version} shadows the champion"
    print_outcome(asdict(event), [line], as_json=as_json, indent=None)


@app.command()
def canary(
    name: NameArgument,
    registry: RegistryOption,
    percent: Annotated[float, typer.Option(min=0, max=100, help="Of the requests.")] = 10.0,
    is_shadow: Annotated[
        bool, typer.Option("--shadow", help="And let it shadow the rest.")
    ] = False,
    reason: _ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let VERSION answer a share of the requests; again with another share to change it.

    Example: deepicd challenge canary v0003 --percent 10 --registry runs/demo/registry
    """
    from deepicd.cli.console import print_outcome
    from deepicd.promotion.remote_registry import open_registry

    event = open_registry(registry).challenge(
        name, reason=reason or f"by {getuser()}", percent=percent, is_shadow=is_shadow
    )
    line = f"{event.version} answers {percent:g}% of the requests"
    print_outcome(asdict(event), [line], as_json=as_json, indent=None)


@app.command()
def end(registry: RegistryOption, reason: _ReasonOption = "", as_json: JsonOption = False) -> None:
    """Withdraw the challenger: the champion answers everything.

    Example: deepicd challenge end --registry runs/demo/registry --reason "slow"
    """
    from deepicd.cli.console import print_outcome
    from deepicd.promotion.remote_registry import open_registry

    event = open_registry(registry).withdraw(reason=reason or f"by {getuser()}")
    line = f"{event.version} was withdrawn"
    print_outcome(asdict(event), [line], as_json=as_json, indent=None)
