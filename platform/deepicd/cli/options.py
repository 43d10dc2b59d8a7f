"""Options that several commands share, and what a noun does without a command."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

FileArgument = Annotated[Path, typer.Argument(help="Experiment file.")]
RunArgument = Annotated[str, typer.Argument(help="Name of the run.")]
RunsOption = Annotated[Path, typer.Option(help="Folder of the runs.")]
NameOption = Annotated[
    str | None, typer.Option(help="Name of the run; the experiment's if not given.")
]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="ADDRESS=VALUE, repeatable.")]
YesOption = Annotated[
    bool, typer.Option("--yes", help="Delete the run that NAME.previous holds, if one does.")
]
PromoteOption = Annotated[
    bool, typer.Option("--promote/--no-promote", help="Evaluate, judge and register the winner.")
]
KeepOption = Annotated[bool, typer.Option("--keep", help="Leave the endpoint up until Ctrl-C.")]
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
