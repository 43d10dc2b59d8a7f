"""The `deepicd` command: arguments in; a package's work, its printed outcome and an exit code out.

Decided here: which commands exist, and the wall at which errors become messages. A command's module
is imported only when that command is called, so `deepicd --help` needs neither Ray nor torch and
stays under a second. Each module `deepicd.cli.COMMAND`, or one in a folder of it, exposes either
`app` (a typer app with verbs) or `command` (a plain function).

Exit codes: 0 done, 2 wrong usage or configuration, other numbers as in `deepicd.errors`,
130 interrupted.
"""

import os
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from deepicd import __version__
from deepicd.errors import DeepICDError

COMMANDS = {
    "init": "Write a commented experiment file to begin from.",
    "validate": "Say everything that would be refused of an experiment file.",
    "plan": "Show what a sweep or a training would do and cost.",
    "run": "Run the whole pipeline: notes, SFT, sweep, promotion, serving, monitoring.",
    "train": "Train once, without a search; judge and register the model.",
    "resume": "Go on with a run, whatever ended it.",
    "cache": "List and prune the stages that runs share.",
    "notes": "Build and inspect the split admission notes.",
    "traces": "Let a teacher write reasoning traces for notes; check and show them.",
    "sweep": "Run, watch and report a hyperparameter sweep.",
    "evaluate": "Score a model on a split of notes.",
    "promote": "Compare a candidate with the champion; make it champion if it wins.",
    "challenge": "Try a version beside the champion, as shadow or canary.",
    "rollback": "Give the champion's alias back to the version before.",
    "registry": "List and verify model versions and their aliases.",
    "serve": "Put the champion behind an OpenAI-compatible endpoint.",
    "query": "Send one admission note to the endpoint.",
    "monitor": "Take in late labels; show windowed hierarchical F1.",
    "score": "Score a file of predictions.",
    "reward": "Show what a reward makes of one answer; attack it before training.",
    "codes": "Look up ICD-10-CM codes.",
    "cluster": "Check and show descriptions of clusters.",
    "doctor": "Examine this machine: what it lacks, and the way out.",
}

_FOLDERS = {
    **dict.fromkeys(
        ("init", "validate", "plan", "run", "train", "resume", "sweep"), "experiments."
    ),
    "doctor": "clusters.",
    **dict.fromkeys(("promote", "challenge", "rollback", "registry"), "promotion."),
}
"""Folder of a command's module below this package, where it is not the package itself."""


class _LazyGroup(TyperGroup):
    """A group that knows its commands by name and imports one only when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands, in the order of the flow."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:
        """A stand-in that carries the command's help line; enough for `--help` and completion."""
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name]) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The real command: the command's module is imported here."""
        self.commands.update((name, TyperCommand(name)) for name in COMMANDS)  # for "did you mean"
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else _load(name), rest


def _load(name: str) -> Any:
    from deepicd.cli.options import guard_options

    module = import_module(f"deepicd.cli.{_FOLDERS.get(name, '')}{name}")
    if hasattr(module, "app"):
        group = typer.main.get_group(module.app)
        group.name = name
        return guard_options(group)
    single = typer.Typer(add_completion=False)
    single.command(name)(module.command)
    return guard_options(typer.main.get_command(single))


app = typer.Typer(
    cls=_LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    # Typer's pretty tracebacks can print local variables, and a local variable may be a note.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Sweep, train, promote, serve and watch models that code admission notes in ICD-10-CM.",
    epilog="Example: deepicd run experiments/demo.toml",
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"deepicd {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks (or set DEEPICD_DEBUG=1).")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    # Not at import: `--help` ends before this and needs no console.
    from deepicd.cli.console import configure_logging

    configure_logging()
    if debug:
        os.environ["DEEPICD_DEBUG"] = "1"


def main() -> None:
    """Entry point of the console script; a deliberate error is one line on stderr."""
    # Files 0600, folders 0700: what is written here, or by processes that this one starts, may be
    # notes or tokens.
    os.umask(0o077)
    try:
        app(prog_name="deepicd")
    except DeepICDError as error:
        if os.environ.get("DEEPICD_DEBUG", "0") not in ("", "0"):
            raise
        typer.echo(f"deepicd: {error}", err=True)
        sys.exit(error.exit_code)
