"""`deepicd sweep plan`: what a sweep would do and cost; nothing is started."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from deepicd.config import Experiment
    from deepicd.sweeps.planning.plan import Plan


def plan(
    file: Annotated[Path, typer.Argument(help="Experiment file.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="ADDRESS=VALUE, may be repeated.")
    ] = None,
    step_s: Annotated[
        float, typer.Option(help="Measured seconds of one GRPO step, for hours and cost.", min=0)
    ] = 0.0,
    gpu: Annotated[
        str, typer.Option(help="GPU or machine of the price table: H100-80GB, p4de.24xlarge.")
    ] = "",
    prices: Annotated[
        Path | None, typer.Option(help="Price table (TOML) instead of the package's own.")
    ] = None,
    is_composed: Annotated[
        bool, typer.Option("--verl", help="Print verl's configuration of the first drawn trial.")
    ] = False,
    is_compared: Annotated[
        bool, typer.Option("--diff", help="Print verl's keys that differ between drawn trials.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a sweep would do and cost, and refuse what cannot run; nothing is started.

    --verl and --diff compose the drawn trials with the installed verl (some seconds) and refuse a
    searched value that does not reach it.

    Examples:

    deepicd sweep plan experiments/demo.toml --step-s 12

    deepicd sweep plan experiments/deepicd_r1_7b.toml --gpu A100-80GB --step-s 60

    deepicd sweep plan experiments/demo.toml --diff
    """
    from deepicd.config import load_experiment
    from deepicd.pipeline.validation import check_plan
    from deepicd.sweeps.planning.memory import check_memory
    from deepicd.sweeps.planning.plan import plan_sweep
    from deepicd.sweeps.planning.prices import find_machines, read_prices
    from deepicd.sweeps.search.warm_start import apply_warm_start

    experiment = load_experiment(file, overrides or [])
    experiment = apply_warm_start(experiment)
    check_plan(experiment)
    table = read_prices(prices)
    machines = find_machines(table, gpu) if gpu else ()
    for machine in machines[-1:]:
        check_memory(experiment, machine.gpu_memory_gib, place=machine.gpu)
    planned = plan_sweep(experiment, step_s=step_s, machines=machines, prices=table)
    if is_composed or is_compared:
        _print_composed(experiment, planned, is_compared=is_compared, as_json=as_json)
    elif as_json:
        typer.echo(json.dumps(asdict(planned), indent=2))
    else:
        typer.echo("\n".join(_lines(planned)))


def _print_composed(
    experiment: "Experiment", planned: "Plan", *, is_compared: bool, as_json: bool
) -> None:
    from omegaconf import OmegaConf

    from deepicd.config import with_values
    from deepicd.training.grpo.differences import check_mapped, compose_planned, differences

    check_mapped(experiment)
    trials = [with_values(experiment, row, place="drawn trial") for row in planned.samples]
    if not is_compared:
        typer.echo(OmegaConf.to_yaml(compose_planned(trials[0])))
        return
    rows = differences(trials)
    if as_json:
        typer.echo(json.dumps(rows, indent=2, default=str))
    else:
        head = [f"trial {number}" for number in range(1, len(trials) + 1)]
        for key, row in {"verl's key": head, **rows}.items():
            typer.echo(f"{key}: {' | '.join(map(_shown, row))}")


def _lines(planned: "Plan") -> Iterator[str]:
    for name, values in asdict(planned).items():
        for row in values if isinstance(values, tuple) else [values]:
            if row:
                cells = (f"{key} {_shown(value)}" for key, value in row.items())
                yield f"{name:10} {', '.join(cells)}"
    if planned.cost:
        yield f"The cost is an estimate, by on-demand prices of {planned.prices['as_of']}."


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
