"""`deepicd demo`: the whole loop."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    file: Annotated[Path, typer.Argument(help="Experiment file.")] = Path("experiments/demo.toml"),
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    name: Annotated[str, typer.Option(help="Name of the run; the experiment's if empty.")] = "",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="ADDRESS=VALUE, may be repeated.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the endpoint up until Ctrl-C.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Notes, SFT, sweep, evaluation, promotion, endpoint, monitoring: all of it, here.

    Example: deepicd demo experiments/demo.toml --set sweep.num_trials=4 --keep
    """
    from deepicd.cli.console import Outcome, configure_logging
    from deepicd.config import load_experiment
    from deepicd.pipeline.loop import run_pipeline
    from deepicd.pipeline.operations import wait_for_interrupt

    experiment = load_experiment(file, overrides or [])
    configure_logging(has_clock=True)
    root = runs / (name or experiment.name)
    summary = run_pipeline(experiment, root, serve_on=wait_for_interrupt if keep else None)
    Outcome(as_json=as_json).show_run(summary, root)
