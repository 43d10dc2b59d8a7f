"""`deepicd init`: a commented experiment file to begin from."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from deepicd.cli.options import JsonOption, ReplaceOption


def command(
    place: Annotated[
        Path, typer.Argument(help="File that ends in .toml, or a folder for experiment.toml.")
    ] = Path("experiment.toml"),
    data: Annotated[
        Literal["embedded", "mimic", "table", "fhir"],
        typer.Option(help="Notes: the package's own, MIMIC-IV's, a file's, a FHIR export's."),
    ] = "embedded",
    root: Annotated[
        str | None, typer.Option(help="Not embedded: folder, or file, of the notes.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Not embedded: Hugging Face model folder.")
    ] = None,
    traces: Annotated[
        str | None, typer.Option(help="Not embedded: Parquet file of traces for SFT.")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(help="Not embedded: GPUs of one trial; 4.", min=1)
    ] = None,
    base: Annotated[
        Path | None, typer.Option("--from", help="Begin from this experiment file instead.")
    ] = None,
    yes: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a commented experiment file that `deepicd validate` accepts.

    Examples:

    deepicd init mine.toml

    deepicd init large.toml --data mimic --model models/Qwen2.5-7B-Instruct --gpus 8
    """
    from deepicd.cli.console import print_outcome
    from deepicd.config.new_experiment import NewExperiment, next_commands, write_new_experiment

    options = NewExperiment(data, root, model, traces=traces, gpus=gpus, base=base)
    file = write_new_experiment(place, options, may_replace=yes)
    told = {"file": str(file), "next": next_commands(file)}
    print_outcome(told, [f"{file} is written. Next:", *told["next"]], as_json=as_json)
