"""`deepicd sweep`: run a sweep and look at its trials."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Run a hyperparameter sweep and look at its trials.")
RunsOption = Annotated[Path, typer.Option(help="Folder of the runs.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="Experiment file.")],
    name: Annotated[str, typer.Option(help="Name of the run; the experiment's if empty.")] = "",
    runs: RunsOption = Path("runs"),
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="ADDRESS=VALUE, may be repeated.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Build the data, fine-tune the start model and run every trial.

    Example: deepicd sweep run experiments/demo.toml --name first --set sweep.num_trials=8
    """
    from deepicd.cli.screen import Screen
    from deepicd.config import load_experiment
    from deepicd.pipeline import run_until_sweep

    experiment = load_experiment(file, overrides or [])
    screen = Screen(as_json=as_json)
    root = runs / (name or experiment.name)
    screen.show_trials(run_until_sweep(experiment, root, say=screen.say), experiment.sweep.metric)


@app.command()
def status(
    name: Annotated[str, typer.Argument(help="Name of the run.")],
    runs: RunsOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Show the trials of a run, while it goes on or afterwards.

    Example: deepicd sweep status demo --json
    """
    from deepicd.cli.screen import Screen
    from deepicd.sweeps.status import read_status

    trials, metric = read_status(runs / name)
    Screen(as_json=as_json).show_trials(trials, metric)
