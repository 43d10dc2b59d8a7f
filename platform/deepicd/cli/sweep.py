"""`deepicd sweep`: run a sweep, stop it, go on with it, look at its trials."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepicd.cli.sweep_plan import plan

if TYPE_CHECKING:
    from deepicd.sweeps.results.status import SweepStatus

STOP_TIMEOUT_S = 120.0

app = typer.Typer(no_args_is_help=True, help="Run a hyperparameter sweep and look at its trials.")
RunsOption = Annotated[Path, typer.Option(help="Folder of the runs.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
app.command()(plan)


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
    from deepicd.cli.console import configure_logging
    from deepicd.config import load_experiment
    from deepicd.pipeline.loop import run_until_sweep

    experiment = load_experiment(file, overrides or [])
    root = runs / (name or experiment.name)
    with configure_logging(has_clock=True).live_table(is_shown=not as_json):
        swept = run_until_sweep(experiment, root)
    _show(swept, as_json=as_json)


@app.command()
def resume(
    name: Annotated[str, typer.Argument(help="Name of the run.")],
    runs: RunsOption = Path("runs"),
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="ADDRESS=VALUE: other machines.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with a run that was interrupted: finished trials stay, the others follow.

    Example: deepicd sweep resume first --set training.num_gpus=2
    """
    from deepicd.cli.console import configure_logging
    from deepicd.pipeline.loop import resume_sweep

    with configure_logging(has_clock=True).live_table(is_shown=not as_json):
        swept = resume_sweep(runs / name, overrides=overrides or [])
    _show(swept, as_json=as_json)


@app.command()
def stop(
    name: Annotated[str, typer.Argument(help="Name of the run.")],
    runs: RunsOption = Path("runs"),
) -> None:
    """End a run that goes on, with everything it started; `resume` goes on with it later.

    Example: deepicd sweep stop first
    """
    from deepicd.paths import RunPaths
    from deepicd.pipeline.run import stop_holder

    process = stop_holder(RunPaths((runs / name).resolve()).lock, timeout_s=STOP_TIMEOUT_S)
    typer.echo(f"process {process} has ended; deepicd sweep resume {name} goes on", err=True)


@app.command()
def status(
    name: Annotated[str, typer.Argument(help="Name of the run.")],
    runs: RunsOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Show the trials of a run, while it goes on or afterwards.

    Example: deepicd sweep status demo --json
    """
    from deepicd.paths import RunPaths
    from deepicd.pipeline.loop import experiment_of_run
    from deepicd.pipeline.run import holder
    from deepicd.sweeps.results.status import read_sweep_status

    paths = RunPaths((runs / name).resolve())
    is_alive = holder(paths.lock) is not None
    _show(read_sweep_status(paths, experiment_of_run(paths), is_alive=is_alive), as_json=as_json)


@app.command()
def replay(
    name: Annotated[str, typer.Argument(help="Name of the run.")],
    runs: RunsOption = Path("runs"),
    scheduler: Annotated[str, typer.Option(help="asha, median or none.")] = "asha",
    grace: Annotated[int, typer.Option(help="Grace steps; 0: the run's own.", min=0)] = 0,
    factor: Annotated[int, typer.Option(help="ASHA's halving rate; 0: the run's own.", min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Show what early stopping would have cost and saved on a run's recorded curves.

    Example: deepicd sweep replay full --scheduler asha --grace 4
    """
    from deepicd.paths import RunPaths
    from deepicd.pipeline.loop import experiment_of_run
    from deepicd.sweeps.planning import replay as replays

    paths = RunPaths((runs / name).resolve())
    experiment = experiment_of_run(paths)
    given: dict[str, str | int] = {
        "scheduler": scheduler,
        "grace_steps": grace,
        "reduction_factor": factor,
    }
    settings = {key: value for key, value in given.items() if value}
    found = replays.replay(replays.read_curves(paths, experiment), experiment, settings)
    lines = [json.dumps(asdict(found), indent=2)] if as_json else replays.describe(found)
    typer.echo("\n".join(lines))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of the run.")],
    trial: Annotated[str, typer.Argument(help="Id of the trial.")],
    runs: RunsOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Show what a trial ran with and its last report.

    Example: deepicd sweep show demo 3f2a_00001
    """
    from deepicd.config import flatten
    from deepicd.paths import RunPaths
    from deepicd.sweeps.results.status import trial_facts

    found = trial_facts(RunPaths((runs / name).resolve()), trial)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        for key, value in flatten(found, into_lists=True).items():
            typer.echo(f"{key} = {value}")


@app.command()
def report(
    name: Annotated[str, typer.Argument(help="Name of the run.")],
    runs: RunsOption = Path("runs"),
    out: Annotated[
        Path | None, typer.Option(help="HTML file to write; RUN/sweep.html if not given.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a run's sweep as one HTML file, while it goes on or afterwards.

    Example: deepicd sweep report first --out first.html
    """
    from deepicd.pipeline.sweep_report import write_sweep_report

    written = write_sweep_report(runs / name, out)
    if as_json:
        typer.echo(json.dumps(written, indent=2))
        return
    answer = written["sections"][0]
    typer.echo("\n".join(answer["text"]))
    typer.echo(f"report: {Path(written['report']).as_uri()}")


def _show(status: "SweepStatus", *, as_json: bool) -> None:
    from deepicd.cli.console import Outcome

    Outcome(as_json=as_json).show_trials(
        status.trials,
        status.experiment.sweep,
        budget=status.budget,
        decision=status.decision,
    )
