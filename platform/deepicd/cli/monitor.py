"""`deepicd monitor`: late labels in, windows of hierarchical F1 out.

In: the folder of an endpoint's prediction log, or the address of a running endpoint. Out: a table,
or JSON with `--json`.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from deepicd.cli.options import JsonOption, ReplaceOption, expand_place

app = typer.Typer(
    no_args_is_help=True,
    help="Take in late labels; show windowed hierarchical F1.",
    epilog="Example: deepicd monitor status",
)

LogOption = Annotated[Path, typer.Option("--log", metavar="DIR", help="Folder of the log.")]


@app.command()
def status(
    log: LogOption = Path("runs/demo/monitor"),
    window: Annotated[int, typer.Option(min=1, help="Predictions in one window.")] = 500,
    hours: Annotated[
        float | None, typer.Option(min=0.001, help="Show windows of so many hours instead.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Hierarchical F1 of what was answered and later labelled, by version and window.

    Example: deepicd monitor status --log runs/demo/monitor --window 100
    """
    from deepicd.cli.console import print_outcome, print_table
    from deepicd.monitoring import monitor
    from deepicd.monitoring.alerts import find_alerts
    from deepicd.monitoring.prediction_log import PredictionLog

    store = PredictionLog.existing(log, window=window)
    if as_json:
        print_outcome(monitor.Monitor(store).status(), [], as_json=True)
        return
    windows = store.windows(period_s=None if hours is None else 3600 * hours)
    print_table(monitor.COLUMNS, monitor.table_rows(windows))
    alerts = map(monitor.describe_alert, find_alerts(store.windows()))
    print_outcome(None, [monitor.describe_counts(store.counts()), *alerts], as_json=False)


@app.command()
def export(
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="DIR",
            help="Folder or fsspec URL of the files.",
            callback=expand_place,
        ),
    ],
    log: LogOption = Path("runs/demo/monitor"),
    yes: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write predictions and labels as Parquet; there is no text of a note in them.

    An earlier export of the same log is written anew; files of anything else need --yes.

    Example: deepicd monitor export --to exported --log runs/demo/monitor
    """
    from deepicd.cli.console import print_outcome
    from deepicd.monitoring.parquet_export import export as write
    from deepicd.monitoring.parquet_export import refuse_others
    from deepicd.monitoring.prediction_log import PredictionLog

    store = PredictionLog.existing(log)
    refuse_others(store, to, may_replace=yes, option="--to")
    counts = write(store, to)
    text = ", ".join(f"{number} {name}" for name, number in counts.items())
    print_outcome(counts, [f"{text} in {to}"], as_json=as_json, indent=None)


@app.command()
def stack(
    log: LogOption = Path("runs/demo/monitor"),
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Prometheus' own TCP port, on loopback.")
    ] = 9090,
    every: Annotated[int, typer.Option(min=1, help="Seconds between two readings.")] = 10,
    storage: Annotated[
        Path | None, typer.Option(help="Where it keeps its series (default: LOG/prometheus).")
    ] = None,
    yes: ReplaceOption = False,
) -> None:
    """Start Debian's Prometheus against a running `deepicd serve`, with the alerts, until Ctrl-C.

    Example: deepicd monitor stack --log runs/demo/monitor
    """
    from deepicd.monitoring.prometheus import run_prometheus

    place = storage or log / "prometheus"
    run_prometheus(log, place, port=port, period_s=every, may_replace=yes)


@app.command()
def rules(as_json: JsonOption = False) -> None:
    """What raises an alert, how bad it is, and the page that says what to do.

    Example: deepicd monitor rules
    """
    from deepicd.cli.console import print_outcome
    from deepicd.cli.text import rule_lines
    from deepicd.monitoring.alerts import RULES

    columns = ("name", "severity", "meaning", "min_labelled", "num_windows", "runbook")
    rows = [{column: str(getattr(rule, column)) for column in columns} for rule in RULES]
    print_outcome(rows, rule_lines(RULES), as_json=as_json)


@app.command()
def label(
    key: Annotated[str, typer.Argument(metavar="ID", help="As in the endpoint's reply.")],
    code: Annotated[str, typer.Argument(help="The right ICD-10-CM code, dotted or not.")],
    log: LogOption = Path("runs/demo/monitor"),
    url: Annotated[str | None, typer.Option(help="Send it to this endpoint instead.")] = None,
    is_admission: Annotated[
        bool,
        typer.Option("--admission", help="ID is the admission_id sent with the note."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what the right code was; again with another code to correct it.

    Example: deepicd monitor label p-0123 I25.10 --url http://127.0.0.1:8000
    """
    from deepicd.cli.console import print_outcome
    from deepicd.monitoring.prediction_log import PredictionLog
    from deepicd.serving.client import send_label

    by: Literal["prediction", "admission"] = "admission" if is_admission else "prediction"
    outcome = (
        send_label(url, {f"{by}_id": key, "code": code})
        if url
        else PredictionLog.existing(log).label(key, code, by=by)
    )
    print_outcome({"outcome": outcome}, [outcome], as_json=as_json, indent=None)
