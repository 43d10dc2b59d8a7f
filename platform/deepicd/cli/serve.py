"""`deepicd serve`: the champion of a registry behind an endpoint, in the foreground.

In: a registry folder. Out: an endpoint until SIGTERM or Ctrl-C, then exit code 0. A promotion or
rollback in the registry changes what is served while it runs (`pipeline.operations`).
"""

from pathlib import Path
from typing import Annotated

import typer

from deepicd.cli.options import RegistryOption, ReplaceOption, expand_place

_PortOption = Annotated[
    int | None, typer.Option("--port", min=1, max=65535, help="TCP port (default 8000).")
]
_ExperimentOption = Annotated[
    Path | None,
    typer.Option("--experiment", help="Experiment with the limits (default: the run's own)."),
]
LogOption = Annotated[
    Path | None, typer.Option("--log", help="Folder of the prediction log (default: the run's).")
]


def command(
    registry: RegistryOption,
    port: _PortOption = None,
    host: Annotated[str | None, typer.Option(help="Interface (default 127.0.0.1).")] = None,
    experiment: _ExperimentOption = None,
    log: LogOption = None,
    archive: Annotated[
        str | None,
        typer.Option(
            help="Folder or fsspec URL of the log as Parquet (default: LOG/parquet).",
            callback=expand_place,
        ),
    ] = None,
    auto_rollback: Annotated[
        bool, typer.Option(help="Let alerts roll the champion back and withdraw a challenger.")
    ] = True,
    show_prompts: Annotated[
        bool, typer.Option("--show-prompts", help="Show prompts (notes) of a trial's rollouts.")
    ] = False,
    yes: ReplaceOption = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print what `serve deploy` reads, and end.")
    ] = False,
) -> None:
    """Serve the champion until SIGTERM or Ctrl-C; follow promotions and rollbacks.

    Example: deepicd serve --registry runs/demo/registry --port 8000

    Example: deepicd serve --registry runs/demo/registry --print-config > serve.yaml
    """
    from deepicd.pipeline import operations

    settings = operations.serving_settings(registry, experiment, log=log, host=host, port=port)
    settings = settings.model_copy(update={"show_prompts": show_prompts})
    if print_config:
        typer.echo(operations.endpoint_config(settings), nl=False)
    else:
        operations.serve(
            settings, archive=archive, has_auto_rollback=auto_rollback, may_replace=yes
        )
