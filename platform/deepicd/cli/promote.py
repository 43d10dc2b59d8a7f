"""`deepicd promote VERSION`: judge a version against the champion; make it champion if it wins.

In: a registry, a version, and how to judge it. Out: the decision with its reasons; an endpoint that
follows the registry changes by itself. Decided here: a decision that the registry already holds
against the present champion is used; else both models are asked on the promotion split of the run
that the registry lies in (or `--split`). A rejection is a report: it exits with 0 and moves
nothing.
"""

from dataclasses import asdict
from getpass import getuser
from pathlib import Path
from typing import Annotated

import typer

from deepicd.cli.registry import JsonOption, NameArgument, RegistryOption


def command(
    name: NameArgument,
    registry: RegistryOption,
    force: Annotated[bool, typer.Option("--force", help="Move the alias without a gate.")] = False,
    split: Annotated[
        Path | None, typer.Option(help="Promotion split (default: the run's own).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Judge VERSION against the champion and make it champion if it wins.

    Example: deepicd promote v0003 --registry runs/demo/registry
    """
    from deepicd.cli import console, text
    from deepicd.pipeline.promotion import judge_version
    from deepicd.pipeline.run import run_of_registry
    from deepicd.promotion.remote_registry import open_registry

    store = open_registry(registry)
    if force:
        event = store.promote(name, reason=f"forced by {getuser()}")
        line = f"{event.version} is champion (forced)"
        console.print_outcome(asdict(event), [line], as_json=as_json, indent=None)
        return
    decision = judge_version(store, name, split=split, run=run_of_registry(registry))
    lines = text.decision_lines(store.get(name).name, decision)
    outcome = {**asdict(decision), "champion": store.aliases().get("champion")}
    console.print_outcome(outcome, lines, as_json=as_json, indent=None)
