"""`deepicd run`: an experiment from its notes to the champion that serves."""

from pathlib import Path

from deepicd.cli.options import (
    FileArgument,
    JsonOption,
    KeepOption,
    NameOption,
    RunsOption,
    SetOption,
    YesOption,
)


def command(
    file: FileArgument,
    name: NameOption = None,
    runs: RunsOption = Path("runs"),
    overrides: SetOption = None,
    keep: KeepOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run every stage: notes, SFT, sweep (or one training), gate, registry, endpoint.

    Stages that another run made of the same inputs are taken over from RUNS/cache.

    Example: deepicd run experiments/demo.toml --name first --set sweep.num_trials=4
    """
    from deepicd.cli.console import configure_logging, print_run
    from deepicd.config import load_experiment
    from deepicd.pipeline.folder.command import Command
    from deepicd.pipeline.folder.place import folder_of
    from deepicd.pipeline.loop import run_pipeline
    from deepicd.pipeline.operations import wait_for_interrupt

    experiment = load_experiment(file, overrides or [])
    root = folder_of(runs, name, experiment)
    wait = wait_for_interrupt if keep else None
    with configure_logging(has_clock=True).live_table(is_shown=not as_json):
        ended = run_pipeline(experiment, root, command=Command(), may_delete=yes, serve_on=wait)
    print_run(ended, root, as_json=as_json)
