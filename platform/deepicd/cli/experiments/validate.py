"""`deepicd validate`: everything that would be refused of an experiment file."""

from typing import Annotated

import typer

from deepicd.cli.options import FileArgument, JsonOption, SetOption


def command(
    file: FileArgument,
    overrides: SetOption = None,
    is_here: Annotated[
        bool, typer.Option("--here", help="Refuse what only this machine lacks, too.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say everything that would be refused of an experiment; nothing is started.

    What only this machine lacks (data, a model folder, traces, GPUs) stands apart as missing, and
    is an error with --here alone. Of a file that sets or searches keys of verl the installed verl
    is asked, which takes 10 seconds to a minute.

    Exit codes: 0 valid, 2 at least one fault, 4 with --here where something is missing.

    Examples:

    deepicd validate experiments/deepicd_r1_7b.toml

    deepicd validate experiments/demo.toml --here --json
    """
    from deepicd.cli import console, text
    from deepicd.pipeline.validation import validate_file

    verdict = validate_file(file, overrides or [])
    console.print_outcome(verdict.as_json(), text.verdict_lines(verdict), as_json=as_json)
    raise typer.Exit(verdict.exit_code(is_here=is_here))
