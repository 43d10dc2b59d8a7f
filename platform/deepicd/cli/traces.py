"""`deepicd traces`: let a teacher write reasoning traces for notes; check and show them."""

from pathlib import Path
from typing import Annotated

import typer

from deepicd.cli.options import JsonOption

app = typer.Typer(
    no_args_is_help=True,
    help="Reasoning traces for supervised fine-tuning: build, check, show.",
    epilog="Example: deepicd traces show runs/demo/traces.parquet",
)
FileArgument = Annotated[Path, typer.Argument(help="Parquet file of traces.")]
NotesOption = Annotated[
    Path | None, typer.Option(help="Folder of the notes; default: the one beside the traces.")
]


@app.command()
def build(
    notes: Annotated[Path, typer.Argument(help="Folder that `notes build` wrote.")],
    teacher: Annotated[
        str, typer.Option(help="OpenAI-compatible endpoint, /v1 included. It sees notes and codes.")
    ],
    model: Annotated[str, typer.Option(help="Name of the model at that endpoint.")],
    num: Annotated[int, typer.Option(min=1, help="Accepted traces to end with.")],
    out: Annotated[Path, typer.Option(help="Parquet file; its card is written beside it.")],
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A host besides this machine that may see notes; may be repeated."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Attempts at one note.")] = 4,
    max_per_label: Annotated[
        int, typer.Option(min=0, help="Traces of one code at most; 0 sets no limit.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of order and samples.")] = 1,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="traces.NAME=VALUE, any setting of [traces]; repeatable."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Replace traces, or an interrupted build, in --out.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Let a teacher write a trace for each of NUM training notes; refuse what breaks a rule.

    The same command goes on with a build that was interrupted. A key, where the endpoint asks for
    one, stands in the environment variable DEEPICD_TEACHER_KEY.

    Example: deepicd traces build runs/mine/notes --teacher http://127.0.0.1:8001/v1 --model big
    --num 1000 --out runs/mine/traces.parquet
    """
    from deepicd.cli.console import print_outcome
    from deepicd.cli.traces_text import traces_lines
    from deepicd.config import LOOPBACK, parse_traces_options
    from deepicd.notes.split_files import read_split
    from deepicd.traces.build import build_from_teacher, outcome_of

    table = {"url": teacher, "model": model, "allowed_hosts": [*LOOPBACK, *(allow_host or ())]}
    limits = {"samples_per_note": samples, "max_per_label": max_per_label}
    settings = parse_traces_options({**table, **limits}, set_ or ())
    train = read_split(notes / "train.parquet")
    card = build_from_teacher(train, out, settings, num_traces=num, seed=seed, may_replace=yes)
    outcome = outcome_of(card, out)
    print_outcome(outcome, traces_lines(outcome), as_json=as_json)


@app.command()
def check(
    file: FileArgument,
    notes: NotesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold every trace of FILE to the rules, and FILE to its card; exit code 1 when one is broken.

    Example: deepicd traces check runs/mine/traces.parquet --notes runs/mine/notes
    """
    from deepicd.cli.console import print_outcome
    from deepicd.cli.traces_text import traces_check_lines
    from deepicd.traces.inspection import check_file

    found = check_file(file, notes)
    print_outcome(found, traces_check_lines(found), as_json=as_json)
    raise typer.Exit(0 if found["is_sound"] else 1)


@app.command()
def show(
    file: FileArgument,
    row: Annotated[int | None, typer.Option(min=0, help="Show this trace, from 0.")] = None,
    show_text: Annotated[
        bool, typer.Option("--show-text", help="Print the text of that trace.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print counts of FILE and of its card; or one trace.

    Example: deepicd traces show runs/demo/traces.parquet --row 0 --show-text
    """
    from deepicd.cli.console import print_outcome
    from deepicd.cli.traces_text import traces_show_lines
    from deepicd.traces.inspection import describe_file, read_row

    if row is not None:
        trace = read_row(file, row, is_text_shown=show_text)
        print_outcome(trace, [trace["code"], trace["response"]], as_json=as_json)
        return
    shown = describe_file(file)
    print_outcome(shown, traces_show_lines(shown), as_json=as_json)
