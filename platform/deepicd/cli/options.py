"""Options that several commands share, what holds for the options of all, and what a command does
without a command.

Decided here: a number on the command line is finite and no greater than one of an experiment, and
`~` and `$NAME` are expanded in every path, whoever started the command (a shell leaves `--runs=~/x`
as it is). Both are done by the type of what was read, so that no option has to think of it; a place
that may be a URL is text, and takes `expand_place` as its callback.
"""

import math
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from deepicd.errors import ConfigError
from deepicd.paths import expand_path


def expand_place(value: Any) -> Any:
    """The text of a folder, file or URL, or a list of such texts, as a shell would read it."""
    if isinstance(value, list | tuple):
        return [expand_place(each) for each in value]
    return expand_path(value) if isinstance(value, str) else value


def guard_options(command: Any) -> Any:
    """A command whose options, and those of its own commands, refuse numbers that nobody can use
    and expand paths.
    """
    for each in getattr(command, "commands", {}).values():
        guard_options(each)
    for parameter in command.params:
        parameter.callback = partial(_read_option, parameter.callback)
    return command


def _read_option(then: Any, context: Any, parameter: Any, value: Any) -> Any:
    try:
        value = _read_value(value)
    except ConfigError as error:
        raise ConfigError(f"{parameter.opts[0]}: {error}") from None
    return then(context, parameter, value) if then else value


def _read_value(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(_read_value, value))
    if isinstance(value, Path):
        return Path(expand_path(str(value)))
    if isinstance(value, int | float):
        _check_number(value)
    return value


def _check_number(value: float) -> None:
    from deepicd.config import MAX_NUMBER

    if not math.isfinite(value) or abs(value) > MAX_NUMBER:
        shown = (
            value if isinstance(value, float) else f"a whole number of {value.bit_length()} bits"
        )
        raise ConfigError(
            f"must be a finite number within -{MAX_NUMBER} and {MAX_NUMBER}; got {shown}"
        )


FileArgument = Annotated[Path, typer.Argument(help="Experiment file.")]
RunArgument = Annotated[str, typer.Argument(help="Name of the run.", callback=expand_place)]
RunsOption = Annotated[Path, typer.Option(help="Folder of the runs.")]
NameOption = Annotated[
    str | None, typer.Option(help="Name of the run; the experiment's if not given.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="ADDRESS=VALUE in TOML's syntax, repeatable; of a search: "
        "'sweep.search.training.learning_rate={type=\"loguniform\", low=1e-5, high=1e-3}'.",
    ),
]
YesOption = Annotated[
    bool, typer.Option("--yes", help="Delete the run that NAME.previous holds, if one does.")
]
ReplaceOption = Annotated[bool, typer.Option("--yes", help="Replace files that are there already.")]
PromoteOption = Annotated[
    bool, typer.Option("--promote/--no-promote", help="Evaluate, judge and register the winner.")
]
KeepOption = Annotated[bool, typer.Option("--keep", help="Leave the endpoint up until Ctrl-C.")]
RegistryOption = Annotated[
    str,
    typer.Option(
        "--registry",
        metavar="DIR",
        help="Folder or fsspec URL of the registry.",
        callback=expand_place,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class ShowByDefault(TyperGroup):
    """`deepicd codes I25.10` is `deepicd codes show I25.10`."""

    def resolve_command(
        self, ctx: Any, args: list[str]
    ) -> tuple[str | None, Any | None, list[str]]:
        """The command that is named, else `show` with all arguments."""
        # An option is the group's own, such as `--help`.
        is_named = args[0] in self.commands or args[0].startswith("-")
        return super().resolve_command(ctx, args if is_named else ["show", *args])


class ShowWithoutVerb(TyperGroup):
    """`deepicd reward --gold I10 …` is `deepicd reward show --gold I10 …`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The command that is named, else `show` with all options."""
        # The group's own option is its help.
        is_own = not args or args[0] in ctx.help_option_names or not args[0].startswith("-")
        return super().parse_args(ctx, args if is_own else ["show", *args])
