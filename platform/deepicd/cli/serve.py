"""`deepicd serve`: the champion of a registry behind an endpoint, in the foreground.

In: a registry folder. Out: an endpoint until SIGTERM or Ctrl-C, then exit code 0. Decided here: the
run that the registry lies in gives the limits (its `experiment.json`) and the prediction log (its
`monitor/`), unless told otherwise; a promotion or rollback in the registry changes what is served
while it runs.
"""

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from deepicd.serving import ServedModel, ServingSettings

LOG_FACTORY = "deepicd.monitoring.log:PredictionLog"

RegistryOption = Annotated[
    Path, typer.Option("--registry", metavar="DIR", help="Registry that holds the champion.")
]
PortOption = Annotated[int | None, typer.Option("--port", help="TCP port (default 8000).")]
ExperimentOption = Annotated[
    Path | None,
    typer.Option("--experiment", help="Experiment with the limits (default: the run's own)."),
]
LogOption = Annotated[
    Path | None, typer.Option("--log", help="Folder of the prediction log (default: the run's).")
]


def command(
    registry: RegistryOption,
    port: PortOption = None,
    host: Annotated[str | None, typer.Option(help="Interface (default 127.0.0.1).")] = None,
    experiment: ExperimentOption = None,
    log: LogOption = None,
) -> None:
    """Serve the champion until SIGTERM or Ctrl-C; follow promotions and rollbacks.

    Example: deepicd serve --registry runs/demo/registry --port 8000
    """
    from deepicd import serving
    from deepicd.serving.follow import follow

    champion = champion_of(registry)
    settings = settings_of(registry, experiment, log=log, host=host, port=port)
    model = champion()
    typer.echo(f"loading {model.version} ...", err=True)
    with serving.start(model, settings) as endpoint:
        stopped = stop_on_signals()
        typer.echo(f"{endpoint.version} answers at {endpoint.url} (Ctrl-C ends it)", err=True)
        follow(endpoint, champion, stopped=stopped, report=lambda text: typer.echo(text, err=True))


def champion_of(folder: Path) -> "Callable[[], ServedModel]":
    """A function that names the present champion; files are verified when it is a new one."""
    from deepicd.promotion.registry import CHAMPION, Registry
    from deepicd.serving import ServedModel

    registry = Registry(folder)
    verified: dict[str, ServedModel] = {}

    def champion() -> ServedModel:
        name = registry.get(CHAMPION).name
        if name not in verified:
            version = registry.verify(name)
            verified[name] = ServedModel(path=version.path, version=version.name)
        return verified[name]

    return champion


def settings_of(
    registry: Path, experiment: Path | None, *, log: Path | None, host: str | None, port: int | None
) -> "ServingSettings":
    """Limits of the run that the registry lies in, or of an experiment file, or the defaults."""
    from deepicd.cli.promote import experiment_of
    from deepicd.config import load_experiment
    from deepicd.paths import RunPaths
    from deepicd.serving import LogSettings, ServingSettings

    run = RunPaths(registry.resolve().parent)
    known = experiment_of(run.experiment) if experiment is None else load_experiment(experiment)
    arguments = {"path": str(log or run.monitor), "window": known.serving.window}
    settings = ServingSettings.of_experiment(
        known, log=LogSettings(factory=LOG_FACTORY, arguments=arguments), port=port
    )
    return settings if host is None else settings.model_copy(update={"host": host})


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set; they do nothing else from now on."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    return stopped
