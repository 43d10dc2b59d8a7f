"""The prediction log → Parquet on the storage path, for notebooks, warehouses and safe keeping.

In: a `PredictionLog`. Out: `predictions.parquet` and `labels.parquet` in a folder or at an fsspec
URL, in order of arrival. Decided here: each file is written aside and moved, so a reader never sees
half of one; the same log gives the same rows, so an earlier export of it is written anew, and
nothing else is replaced unasked; a running endpoint writes them again when something
has arrived, and at its end.
"""

import logging
import threading
import time
from pathlib import Path
from typing import Any

from deepicd.errors import ConfigError, MonitoringError, describe_failure
from deepicd.files import require_yes
from deepicd.monitoring.prediction_log import PredictionLog

_log = logging.getLogger(__name__)

_TABLES = ("predictions", "labels")
FOLDER = "parquet"
"""Beside the log, unless told otherwise."""
PERIOD_S = 60.0
_REST = 9
"""Pause after an export, in times of what it took."""


def export(log: PredictionLog, address: Path | str) -> dict[str, int]:
    """Write both tables; returns the number of rows of each.

    Raises:
        ConfigError: no such file system, or its package is missing.
        MonitoringError: the log cannot be read, or the place cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    store, folder = _open(address)
    counts = {}
    for name, (columns, rows) in log.tables(_TABLES).items():
        table = pa.table({column: [row[i] for row in rows] for i, column in enumerate(columns)})
        target = f"{folder}/{name}.parquet"
        aside = f"{folder}/.{name}.parquet"
        try:
            store.makedirs(folder, exist_ok=True)
            with store.open(aside, "wb") as file:
                pq.write_table(table, file)
            store.mv(aside, target)
        except OSError as error:
            raise MonitoringError(
                f"{target} cannot be written: {type(error).__name__}. Check space and rights there."
            ) from error
        counts[name] = len(rows)
    return counts


def _open(address: Path | str) -> tuple[Any, str]:
    """File system and folder of an address.

    Raises:
        ConfigError: as above.
    """
    import fsspec

    try:
        store, folder = fsspec.core.url_to_fs(str(address))
    except (ValueError, ImportError) as error:
        raise ConfigError(
            f"cannot write to {address}: {error}. Name a folder, or an object store whose fsspec "
            "package is installed."
        ) from error
    return store, folder


def refuse_others(
    log: PredictionLog, address: Path | str, *, may_replace: bool, option: str
) -> None:
    """Refuse to replace files that are no earlier export of this log, unless `--yes` was given.

    Args:
        log: what is to be exported.
        address: folder or fsspec URL.
        may_replace: whether `--yes` was given.
        option: where the user named the place.

    Raises:
        ConfigError: such a file is there, or as of `export`.
    """
    store, folder = _open(address)
    rows = log.tables(_TABLES) if log.file.is_file() else {}
    for name in _TABLES:
        target = f"{folder}/{name}.parquet"
        if store.exists(target) and not _holds_beginning(store, target, rows.get(name)):
            require_yes(
                f"{target} exists, is no export of {log.file}, and would be replaced",
                is_given=may_replace,
                instead=f"choose another place ({option})",
            )


def _holds_beginning(
    store: Any, file: str, rows: tuple[list[str], list[tuple[Any, ...]]] | None
) -> bool:
    """Whether the file ends with a row that the log holds at the same place: nothing in a log is
    changed or deleted, so it is then the log as it was.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with store.open(file, "rb") as opened:
            table = pq.read_table(opened)
    except (OSError, pa.ArrowException):
        return False
    if not rows or table.num_rows > len(rows[1]):
        return False
    if not table.num_rows:
        return bool(table.column_names == rows[0])
    last = table.slice(table.num_rows - 1).to_pylist()[0]
    return bool(last == dict(zip(rows[0], rows[1][table.num_rows - 1], strict=True)))


def keep_exported(log: PredictionLog, address: Path | str, *, stopped: threading.Event) -> None:
    """Export whenever something has arrived, and once more when `stopped` is set; what fails is
    logged once, and tried again.
    """
    seen: dict[str, int] = {}
    complaint, pause_s, is_over = "", PERIOD_S, False
    while not is_over:
        # The last round runs after `stopped` is set, so that the end of the log is exported too.
        is_over = stopped.wait(pause_s)
        begun = time.monotonic()
        try:
            if log.file.is_file() and (arrived := log.arrivals()) != seen:
                export(log, address)
                seen, complaint = arrived, ""
        except Exception as error:
            if (line := describe_failure(error)) != complaint:
                _log.warning(f"predictions are not being written as Parquet: {line}")
            complaint = line
        pause_s = max(PERIOD_S, _REST * (time.monotonic() - begun))
