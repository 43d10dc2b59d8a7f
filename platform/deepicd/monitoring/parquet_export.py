"""The prediction log → Parquet on the storage path, for notebooks, warehouses and safe keeping.

In: a `PredictionLog`. Out: `predictions.parquet` and `labels.parquet` in a folder or at an fsspec
URL, in order of arrival. Decided here: each file is written aside and moved, so a reader never sees
half of one; the same log gives the same rows; a running endpoint writes them again when something
has arrived, and at its end.
"""

import logging
import threading
import time
from pathlib import Path

from deepicd.errors import ConfigError, MonitoringError
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
    import fsspec
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        store, folder = fsspec.core.url_to_fs(str(address))
    except (ValueError, ImportError) as error:
        raise ConfigError(
            f"cannot write to {address}: {error}. Name a folder, or an object store whose fsspec "
            "package is installed."
        ) from error
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
        except (ConfigError, MonitoringError) as error:
            if str(error) != complaint:
                _log.warning(f"predictions are not being written as Parquet: {error}")
            complaint = str(error)
        pause_s = max(PERIOD_S, _REST * (time.monotonic() - begun))
