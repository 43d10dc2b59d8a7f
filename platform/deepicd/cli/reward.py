"""`deepicd reward`: what a reward makes of one answer, and which answers it overpays."""

from pathlib import Path
from typing import Annotated

import typer

from deepicd.cli.options import FileArgument, JsonOption, SetOption, ShowWithoutVerb

app = typer.Typer(
    cls=ShowWithoutVerb,
    no_args_is_help=True,
    help="Show what a reward makes of answers. Options without a verb are those of `show`.",
    epilog='Example: deepicd reward --gold I25.10 --answer "pain</think><diagnosis>I25.9'
    '</diagnosis>"',
)

NotesOption = Annotated[
    int, typer.Option("--notes", min=1, max=1000, help="Notes on which answers are tried.")
]


@app.callback()
def _root() -> None:
    """Show what a reward makes of answers. Options without a verb are those of `show`."""


@app.command()
def show(
    gold: Annotated[str, typer.Option(help="Gold code, for example I25.10.")],
    answer: Annotated[str, typer.Option(help="Model text, with or without the leading <think>.")],
    preset: Annotated[str, typer.Option(help="default, strict or reference.")] = "default",
    note: Annotated[Path | None, typer.Option(help="File with the admission note.")] = None,
    curve: Annotated[float, typer.Option(help="Exponent of the hierarchical credit.")] = 1.0,
    explain: Annotated[bool, typer.Option("--explain", help="Show the tree path and why.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print total and components of one answer's reward.

    Example: deepicd reward show --gold I25.10
    --answer "chest pain</think><diagnosis>I25.9</diagnosis>"
    """
    from deepicd.cli.console import print_outcome
    from deepicd.pipeline.evaluation import explain_reward

    result = explain_reward(answer, gold, preset=preset, hierarchy_curve=curve, note=note)
    lines = result.lines if explain else result.summary
    print_outcome(result.as_dict(), lines, as_json=as_json)


@app.command()
def attack(
    file: FileArgument,
    overrides: SetOption = None,
    num_notes: NotesOption = 40,
    is_text_shown: Annotated[
        bool, typer.Option("--show-text", help="Print answers whole, with their words of notes.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Search answers that earn more than honest ones; exit code 1 when there is one.

    With the experiment's own weights, and with those at the ends of what its sweep searches.

    Example: deepicd reward attack experiments/demo.toml --json
    """
    from deepicd.cli import console, text
    from deepicd.config import load_experiment
    from deepicd.pipeline.rewards.attack import attack_experiment

    found = attack_experiment(load_experiment(file, overrides or []), num_notes=num_notes)
    report = found.as_dict(is_text_shown=is_text_shown)
    console.print_outcome(report, text.attack_lines(report), as_json=as_json)
    raise typer.Exit(1 if found.found else 0)


@app.command()
def sensitivity(
    file: FileArgument,
    overrides: SetOption = None,
    num_notes: NotesOption = 40,
    as_json: JsonOption = False,
) -> None:
    """Say how the ranking of answers changes with each weight over its search domain.

    Of a file that searches no weight, each one is shown from 0 to twice its value.

    Example: deepicd reward sensitivity experiments/demo.toml
    """
    from deepicd.cli import console, text
    from deepicd.config import load_experiment
    from deepicd.pipeline.rewards.sensitivity import find_weight_effects

    experiment = load_experiment(file, overrides or [])
    effects = find_weight_effects(experiment, num_notes=num_notes)
    report = {"weights": [effect.as_dict() for effect in effects]}
    console.print_outcome(report, text.sensitivity_lines(report["weights"]), as_json=as_json)
