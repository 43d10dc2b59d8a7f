"""`deepicd rollback`: give the alias `champion` back to the version that had it before.

In: a registry. Out: the new champion; an endpoint that follows the registry changes by itself.
"""

from dataclasses import asdict
from getpass import getuser
from typing import Annotated

import typer

from deepicd.cli.options import RegistryOption
from deepicd.cli.promotion.registry import JsonOption


def command(
    registry: RegistryOption,
    reason: Annotated[str, typer.Option(help="Why, for the audit log.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Make the champion before the present one champion again.

    Example: deepicd rollback --registry runs/demo/registry --reason "slow"
    """
    from deepicd.cli.console import print_outcome
    from deepicd.promotion.remote_registry import open_registry

    event = open_registry(registry).rollback(reason=reason or f"rolled back by {getuser()}")
    text = f"{event.version} is champion again, in place of {event.details['champion']}"
    print_outcome(asdict(event), [text], as_json=as_json, indent=None)
