"""`deepicd train`: one training, without a search."""

from pathlib import Path

from deepicd.cli.options import (
    FileArgument,
    JsonOption,
    NameOption,
    PromoteOption,
    RunsOption,
    SetOption,
    YesOption,
)


def command(
    file: FileArgument,
    name: NameOption = None,
    runs: RunsOption = Path("runs"),
    overrides: SetOption = None,
    promote: PromoteOption = True,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Notes, SFT and one GRPO training with the experiment's own values; then gate and registry.

    Example: deepicd train experiments/tiny.toml --name once --set training.learning_rate=1e-3
    """
    from deepicd.cli.console import configure_logging, print_run
    from deepicd.config import load_experiment
    from deepicd.pipeline.folder.command import Command
    from deepicd.pipeline.folder.place import folder_of
    from deepicd.pipeline.loop import run_pipeline

    experiment = load_experiment(file, overrides or [])
    root = folder_of(runs, name, experiment)
    extent = Command(promote, is_deployed=False, is_single=True)
    with configure_logging(has_clock=True).live_table(is_shown=not as_json):
        ended = run_pipeline(experiment, root, command=extent, may_delete=yes)
    print_run(ended, root, as_json=as_json)
