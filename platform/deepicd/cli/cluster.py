"""`deepicd cluster`: descriptions of clusters, and what is made of them."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from deepicd.cli.options import JsonOption, ReplaceOption

app = typer.Typer(
    help="Describe, render, check and launch clusters.",
    no_args_is_help=True,
    epilog="Example: deepicd cluster check cluster/local.yaml",
)

_FileArgument = Annotated[Path, typer.Argument(help="Cluster description (YAML).")]
_PricesOption = Annotated[
    Path | None, typer.Option(help="Price table (TOML) instead of the package's own.")
]


@app.callback()
def _group() -> None:
    pass


@app.command(
    epilog="Example: deepicd cluster check cluster/kubernetes.yaml --experiment "
    "experiments/hierarchy_vs_strict_7b.toml --json"
)
def check(
    path: _FileArgument,
    experiment: Annotated[
        Path | None, typer.Option(help="Experiment file that is to run there.")
    ] = None,
    prices: _PricesOption = None,
    is_json: JsonOption = False,
) -> None:
    """Check a description: schema, this platform's rules, the public tools' own schemas; with
    --experiment also GPUs, CPUs, memory, disk for checkpoints and what an hour costs.

    Exit codes: 0 it can be launched, 2 at least one fault, 4 no such file, 5 the experiment does
    not fit.
    """
    from deepicd.cli.console import print_outcome
    from deepicd.cli.text import fit_lines
    from deepicd.pipeline.cluster.check import check_cluster

    verdict = check_cluster(path, prices, experiment=experiment)
    print_outcome(verdict.as_json(), fit_lines(path, verdict), as_json=is_json)
    raise typer.Exit(verdict.exit_code)


@app.command(epilog="Example: deepicd cluster render cluster/aws.yaml --out rendered/aws")
def render(
    path: _FileArgument,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the files.")],
    yes: ReplaceOption = False,
    is_json: JsonOption = False,
) -> None:
    """Write the files that `ray`, `kubectl`, `sbatch` and `sky` read; the same bytes each time."""
    from deepicd.cli.console import print_outcome
    from deepicd.pipeline.cluster.rendering import render_cluster

    files = render_cluster(path, out, may_replace=yes)
    print_outcome({"out": str(out), "files": files}, (f"{out}/{f}" for f in files), as_json=is_json)


_JobArgument = Annotated[str, typer.Argument(help="Job of the description.")]
_DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print the public tool's commands and run none.")
]
_SureOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command(epilog="Example: deepicd cluster up cluster/kubernetes.yaml --dry-run")
def up(path: _FileArgument, is_dry: _DryRunOption = False, yes: _SureOption = False) -> None:
    """Bring the cluster up. On machines that Ray runs on already, `ray up` ends what runs there."""
    from deepicd.pipeline.cluster.launch import check_ending, read_launch, run_steps

    launch = read_launch(path)
    steps = launch.up()
    check_ending(launch, is_confirmed=yes or is_dry or not launch.up_ends_jobs)
    raise typer.Exit(run_steps(steps, is_dry=is_dry))


@app.command(epilog="Example: deepicd cluster down cluster/kubernetes.yaml --dry-run")
def down(path: _FileArgument, is_dry: _DryRunOption = False, yes: _SureOption = False) -> None:
    """End the cluster and every job on it; runs and registry stay."""
    from deepicd.pipeline.cluster.launch import check_ending, read_launch, run_steps

    launch = read_launch(path)
    is_sure = yes or is_dry or (sys.stdin.isatty() and typer.confirm(f"End {launch.cluster.name}?"))
    check_ending(launch, is_confirmed=is_sure)
    raise typer.Exit(run_steps(launch.down(), is_dry=is_dry))


@app.command(epilog="Example: deepicd cluster status cluster/kubernetes.yaml --dry-run")
def status(path: _FileArgument, is_dry: _DryRunOption = False) -> None:
    """Show the cluster's nodes and jobs."""
    from deepicd.pipeline.cluster.launch import read_launch, run_steps

    raise typer.Exit(run_steps(read_launch(path).status(), is_dry=is_dry))


@app.command(epilog="Example: deepicd cluster submit cluster/slurm.yaml sweep --dry-run")
def submit(
    path: _FileArgument,
    job: _JobArgument,
    is_detached: Annotated[
        bool, typer.Option("--detach", help="Do not follow the job's log.")
    ] = False,
    is_dry: _DryRunOption = False,
) -> None:
    """Start a job of the description and follow its log."""
    from deepicd.pipeline.cluster.launch import read_launch, run_steps

    raise typer.Exit(
        run_steps(read_launch(path).submit(job, is_detached=is_detached), is_dry=is_dry)
    )


@app.command(epilog="Example: deepicd cluster logs cluster/slurm.yaml sweep --dry-run")
def logs(path: _FileArgument, job: _JobArgument, is_dry: _DryRunOption = False) -> None:
    """Follow the log of a job; on a cluster of `ray up` JOB is the id that `submit` printed."""
    from deepicd.pipeline.cluster.launch import read_launch, run_steps

    raise typer.Exit(run_steps(read_launch(path).logs(job), is_dry=is_dry))
