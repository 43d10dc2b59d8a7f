"""`deepicd plan`, which is also `deepicd sweep plan`: what a run would do and cost."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from deepicd.cli.options import FileArgument, JsonOption, SetOption


def command(
    file: FileArgument,
    overrides: SetOption = None,
    step_s: Annotated[
        float, typer.Option(help="Measured seconds of one GRPO step, for hours and cost.", min=0)
    ] = 0.0,
    gpu: Annotated[
        str, typer.Option(help="GPU or machine of the price table: H100-80GB, p4de.24xlarge.")
    ] = "",
    prices: Annotated[
        Path | None, typer.Option(help="Price table (TOML) instead of the package's own.")
    ] = None,
    is_composed: Annotated[
        bool, typer.Option("--verl", help="Print verl's configuration of the first drawn trial.")
    ] = False,
    is_compared: Annotated[
        bool, typer.Option("--diff", help="Print verl's keys that differ between drawn trials.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a sweep or a single training would do and cost; nothing is started.

    What no machine could run is refused; what only this one lacks (data, a model folder) is named.
    Of a file that sets or searches keys of verl the installed verl is asked, which takes 10 seconds
    to a minute.

    --verl and --diff compose the drawn trials with the installed verl (some seconds) and refuse a
    searched value that does not reach it.

    Examples:

    deepicd plan experiments/demo.toml --step-s 12

    deepicd plan experiments/deepicd_r1_7b.toml --gpu A100-80GB --step-s 60

    deepicd plan experiments/demo.toml --diff
    """
    from deepicd.cli import console, text
    from deepicd.config import load_experiment
    from deepicd.pipeline import planning

    experiment = load_experiment(file, overrides or [])
    planned = planning.plan_experiment(experiment, step_s=step_s, gpu=gpu, prices=prices)
    if is_compared:
        rows = planning.compare_trials(experiment, planned)
        lines = text.difference_lines(rows, len(planned.samples))
        console.print_outcome(rows, lines, as_json=as_json)
    elif is_composed:
        typer.echo(planning.compose_first_trial(experiment, planned))
    else:
        console.print_outcome(asdict(planned), text.plan_lines(planned), as_json=as_json)
