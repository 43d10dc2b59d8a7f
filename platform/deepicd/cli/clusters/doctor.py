"""`deepicd doctor`: whether this machine can do the work."""

from pathlib import Path
from typing import Annotated

import typer

from deepicd.cli.options import JsonOption, RunsOption


def command(
    runs: RunsOption = Path("runs"),
    is_quick: Annotated[
        bool, typer.Option("--quick", help="Leave out kernels, shared storage and all-reduce.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Examine this machine; nothing is changed.

    Cards, driver, CUDA, a second of all-reduce between all ranks, interfaces, /dev/shm, disks,
    memory, open files, versions, the folder of the runs, token, proxy, attention kernels, ports.

    Exit codes: 0 all is well, 5 something is not.

    Examples:

    deepicd doctor

    deepicd doctor --quick --runs runs --json
    """
    from deepicd.cli import console, text
    from deepicd.doctor.examination import examine

    found = examine(runs, is_quick=is_quick)
    console.print_outcome(found.as_json(), text.check_lines(found.checks), as_json=as_json)
    raise typer.Exit(found.exit_code)
