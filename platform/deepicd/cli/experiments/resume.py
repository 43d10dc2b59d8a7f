"""`deepicd resume`: go on with a run, whatever ended it."""

from pathlib import Path

from deepicd.cli.options import JsonOption, KeepOption, RunArgument, RunsOption, SetOption


def command(
    name: RunArgument,
    runs: RunsOption = Path("runs"),
    overrides: SetOption = None,
    keep: KeepOption = False,
    as_json: JsonOption = False,
) -> None:
    """Go on from whatever is whole, after Ctrl-C, kill -9, a full disk or a lost node.

    --set changes the machines and patience only, such as training.num_gpus.

    Example: deepicd resume first --set training.num_gpus=2
    """
    from deepicd.cli.console import configure_logging, print_run
    from deepicd.pipeline.loop import resume_run
    from deepicd.pipeline.operations import wait_for_interrupt

    wait = wait_for_interrupt if keep else None
    with configure_logging(has_clock=True).live_table(is_shown=not as_json):
        ended = resume_run(runs / name, overrides=overrides or [], serve_on=wait)
    print_run(ended, runs / name, as_json=as_json)
