"""`deepicd serve`: the champion of a registry behind an endpoint, in the foreground.

In: a registry folder. Out: an endpoint until SIGTERM or Ctrl-C, then exit code 0. Decided here: the
run that the registry lies in gives the limits (its `experiment.json`) and the prediction log (its
`monitor/`), unless told otherwise; a promotion or rollback in the registry changes what is served
while it runs.
"""

import logging
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from deepicd.serving import ServedModel, ServingSettings

_log = logging.getLogger(__name__)

RegistryOption = Annotated[
    str, typer.Option("--registry", metavar="DIR", help="Folder or fsspec URL of the registry.")
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
    archive: Annotated[
        str | None,
        typer.Option(help="Folder or fsspec URL of the log as Parquet (default: LOG/parquet)."),
    ] = None,
    auto_rollback: Annotated[
        bool, typer.Option(help="Let alerts roll the champion back and withdraw a challenger.")
    ] = True,
    show_prompts: Annotated[
        bool, typer.Option("--show-prompts", help="Show prompts (notes) of a trial's rollouts.")
    ] = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print what `serve deploy` reads, and end.")
    ] = False,
) -> None:
    """Serve the champion until SIGTERM or Ctrl-C; follow promotions and rollbacks.

    Example: deepicd serve --registry runs/demo/registry --port 8000
    Example: deepicd serve --registry runs/demo/registry --print-config > serve.yaml
    """
    from deepicd import serving
    from deepicd.pipeline.operations import Live, read_alerts_of, watch
    from deepicd.promotion.remote_registry import open_registry
    from deepicd.serving.reconciler import reconcile

    store = open_registry(registry)
    live = Live(store)
    settings = settings_of(registry, experiment, log=log, host=host, port=port)
    settings = settings.model_copy(update={"show_prompts": show_prompts})
    model = live.desired_state().champion
    if print_config:
        typer.echo(as_config(model, settings), nl=False)
        return
    _log.info(f"loading {model.version} ...")
    with serving.start(model, settings) as endpoint:
        stopped = stop_on_signals()
        beside_log(settings, archive, stopped)
        _log.info(f"{endpoint.version} answers at {endpoint.url} (Ctrl-C ends it)")
        if auto_rollback:
            assert settings.log is not None, "settings_of gives it one"
            alerts = read_alerts_of(settings.log, settings.config.window)
            options = {"stopped": stopped}
            threading.Thread(target=watch, args=(store, alerts), kwargs=options).start()
        reconcile(endpoint, live, stopped=stopped)


def beside_log(settings: "ServingSettings", archive: str | None, stopped: threading.Event) -> None:
    """Keep beside the prediction log where its metrics are, and the log itself as Parquet."""
    from deepicd.monitoring.parquet_export import FOLDER, keep_exported
    from deepicd.monitoring.prediction_log import PredictionLog
    from deepicd.monitoring.prometheus import SERVICE_DISCOVERY_FILE
    from deepicd.serving.service_discovery import keep_service_discovery

    assert settings.log is not None, "settings_of gives it one"
    folder = settings.log
    place = archive or str(folder / FOLDER)
    ends: dict[str, Any] = {"stopped": stopped}
    file = folder / SERVICE_DISCOVERY_FILE
    threading.Thread(target=keep_service_discovery, args=(file,), kwargs=ends).start()
    threading.Thread(target=keep_exported, args=(PredictionLog(folder), place), kwargs=ends).start()


def as_config(model: "ServedModel", settings: "ServingSettings") -> str:
    """The endpoint as YAML of Ray Serve."""
    import yaml

    from deepicd.serving.applications import declare

    return str(yaml.safe_dump(declare(model, settings), sort_keys=False))


def settings_of(
    registry: str, experiment: Path | None, *, log: Path | None, host: str | None, port: int | None
) -> "ServingSettings":
    """Limits of the run that the registry lies in, or of an experiment file, or the defaults."""
    from deepicd.cli.promote import experiment_of, run_of
    from deepicd.config import load_experiment
    from deepicd.promotion.remote_registry import is_url
    from deepicd.serving import ServingSettings

    run = run_of(registry)
    known = experiment_of(run.experiment) if experiment is None else load_experiment(experiment)
    settings = ServingSettings.of_experiment(known, log=log or run.monitor, host=host, port=port)
    place = registry if is_url(registry) else str(Path(registry).resolve())
    return settings.model_copy(update={"registry": place})


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set; they do nothing else from now on."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    return stopped
