"""`deepicd sweep`: run a sweep, stop it, go on with it, look at its trials."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from deepicd.cli.experiments import plan
from deepicd.cli.options import (
    FileArgument,
    JsonOption,
    NameOption,
    PromoteOption,
    ReplaceOption,
    RunArgument,
    RunsOption,
    SetOption,
    YesOption,
)

_STOP_TIMEOUT_S = 120.0

app = typer.Typer(
    no_args_is_help=True,
    help="Run a hyperparameter sweep and look at its trials.",
    epilog="Example: deepicd sweep run experiments/demo.toml",
)
app.command("plan")(plan.command)


@app.command()
def run(
    file: FileArgument,
    name: NameOption = None,
    runs: RunsOption = Path("runs"),
    overrides: SetOption = None,
    promote: PromoteOption = True,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Build the data, fine-tune the start model and run every trial; then gate and registry.

    Example: deepicd sweep run experiments/demo.toml --name first --set sweep.num_trials=8
    """
    from deepicd.cli.console import configure_logging, print_sweep
    from deepicd.config import load_experiment
    from deepicd.pipeline.folder.command import Command
    from deepicd.pipeline.folder.place import folder_of
    from deepicd.pipeline.loop import run_pipeline
    from deepicd.pipeline.validation import require_search

    experiment = load_experiment(file, overrides or [])
    require_search(experiment)
    root = folder_of(runs, name, experiment)
    extent = Command(promote, is_deployed=False)
    with configure_logging(has_clock=True).live_table(is_shown=not as_json):
        ended = run_pipeline(experiment, root, command=extent, may_delete=yes)
    print_sweep(ended.sweep, as_json=as_json)


@app.command()
def resume(
    name: RunArgument,
    runs: RunsOption = Path("runs"),
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with a run that was interrupted, as `deepicd resume`; shows its sweep at the end.

    Example: deepicd sweep resume first --set training.num_gpus=2
    """
    from deepicd.cli.console import configure_logging, print_sweep
    from deepicd.pipeline.loop import resume_run

    with configure_logging(has_clock=True).live_table(is_shown=not as_json):
        ended = resume_run(runs / name, overrides=overrides or [])
    print_sweep(ended.sweep, as_json=as_json)


@app.command()
def stop(
    name: RunArgument,
    runs: RunsOption = Path("runs"),
) -> None:
    """End a run that goes on, with everything it started; `resume` goes on with it later.

    Example: deepicd sweep stop first
    """
    from deepicd.paths import RunPaths
    from deepicd.pipeline.folder.lock import stop_holder

    process = stop_holder(RunPaths((runs / name).resolve()).lock, timeout_s=_STOP_TIMEOUT_S)
    typer.echo(f"process {process} has ended; deepicd resume {name} goes on", err=True)


@app.command()
def status(
    name: RunArgument,
    runs: RunsOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Show the trials of a run, while it goes on or afterwards.

    Example: deepicd sweep status demo --json
    """
    from deepicd.cli.console import print_sweep
    from deepicd.pipeline.loop import sweep_status

    print_sweep(sweep_status(runs / name), as_json=as_json)


@app.command()
def replay(
    name: RunArgument,
    runs: RunsOption = Path("runs"),
    scheduler: Annotated[str, typer.Option(help="asha, median or none.")] = "asha",
    grace: Annotated[int, typer.Option(help="Grace steps; 0: the run's own.", min=0)] = 0,
    factor: Annotated[int, typer.Option(help="ASHA's halving rate; 0: the run's own.", min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Show what early stopping would have cost and saved on a run's recorded curves.

    Example: deepicd sweep replay full --scheduler asha --grace 4
    """
    from deepicd.cli.console import print_outcome
    from deepicd.pipeline.planning import replay_run
    from deepicd.sweeps.planning.replay import describe

    replayed = replay_run(runs / name, scheduler=scheduler, grace_steps=grace, factor=factor)
    print_outcome(asdict(replayed), describe(replayed), as_json=as_json)


@app.command()
def show(
    name: RunArgument,
    trial: Annotated[str, typer.Argument(help="Id of the trial.")],
    runs: RunsOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Show what a trial ran with and its last report.

    Example: deepicd sweep show demo 3f2a9c10
    """
    from deepicd.cli.console import print_outcome
    from deepicd.config import flatten
    from deepicd.paths import RunPaths
    from deepicd.sweeps.results.status import trial_facts

    facts = trial_facts(RunPaths((runs / name).resolve()), trial)
    lines = (f"{key} = {value}" for key, value in flatten(facts, into_lists=True).items())
    print_outcome(facts, lines, as_json=as_json)


@app.command()
def report(
    name: RunArgument,
    runs: RunsOption = Path("runs"),
    out: Annotated[
        Path | None, typer.Option(help="HTML file to write; RUN/sweep.html if not given.")
    ] = None,
    yes: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a run's sweep as one HTML file, while it goes on or afterwards.

    Example: deepicd sweep report first --out first.html
    """
    from deepicd.cli.console import print_outcome
    from deepicd.pipeline.sweep_report import write_sweep_report

    written = write_sweep_report(runs / name, out, may_replace=yes)
    answer, address = written["sections"][0]["text"], Path(written["report"]).as_uri()
    print_outcome(written, [*answer, f"report: {address}"], as_json=as_json)
