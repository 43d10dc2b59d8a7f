"""The prediction log → Parquet, for notebooks and warehouses.

In: a `PredictionLog`. Out: `predictions.parquet` and `labels.parquet` in a folder, in order of
arrival. Decided here: each file is written aside and renamed, so a reader never sees half of one;
the same log gives the same rows.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepicd.monitoring.log import PredictionLog

TABLES = ("predictions", "labels")


def export(log: "PredictionLog", folder: Path) -> dict[str, int]:
    """Write both tables; returns the number of rows of each.

    Raises:
        MonitoringError: the log cannot be read.
        OSError: the folder cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    counts = {}
    for name, (columns, rows) in log.tables(TABLES).items():
        table = pa.table({column: [row[i] for row in rows] for i, column in enumerate(columns)})
        aside = folder / f".{name}.parquet"
        pq.write_table(table, aside)
        aside.rename(folder / f"{name}.parquet")
        counts[name] = len(rows)
    return counts
