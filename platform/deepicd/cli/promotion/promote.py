"""`deepicd promote`: judge a version or a run's trial; make it champion if it wins.

In: a version of a registry, or a run. Out: the decision with its reasons; an endpoint that follows
the registry changes by itself. Decided here: a rejection is a report: it exits with 0 and moves
nothing.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from deepicd.cli.options import RunsOption, expand_place
from deepicd.cli.promotion.registry import JsonOption

_RegistryOption = Annotated[
    str,
    typer.Option(
        "--registry",
        metavar="DIR",
        help="Folder or URL (default: the run's, or RUNS/registry).",
        callback=expand_place,
    ),
]


def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="VERSION|RUN[:TRIAL]",
            help="A version or alias; or a run, by name or folder, with a trial of it (default: "
            "its winner).",
            callback=expand_place,
        ),
    ],
    registry: _RegistryOption = "",
    runs: RunsOption = Path("runs"),
    force: Annotated[bool, typer.Option("--force", help="Move the alias without a gate.")] = False,
    split: Annotated[
        Path | None, typer.Option(help="Promotion split (default: that of the version's run).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Judge VERSION, or the best checkpoint of a run's trial, against the champion.

    Example: deepicd promote v0003 --registry runs/demo/registry

    Example: deepicd promote demo:3f2a9c10
    """
    from deepicd.cli.console import print_outcome
    from deepicd.cli.text import decision_lines
    from deepicd.pipeline.promotion import by_hand

    target = by_hand.find_target(name, registry=registry, runs=runs)
    if force:
        event = by_hand.force(target)
        line = f"{event.version} is champion (forced)"
        print_outcome(asdict(event), [line], as_json=as_json, indent=None)
        return
    outcome = by_hand.judge(target, split=split)
    lines = decision_lines(outcome.version, outcome.decision)
    shown = asdict(outcome.decision) | {"version": outcome.version, "champion": outcome.champion}
    print_outcome(shown, lines, as_json=as_json, indent=None)
