"""The prediction log: what the endpoint answered, and what later turned out to be right.

In: predictions as they are served, labels as they arrive (days later, twice, corrected, before
their prediction, or for one that was never made). Out: windows of hierarchical F1 with intervals.
Decided here: one SQLite file in write-ahead mode, so several server processes and a reader share it
and a killed one leaves whole rows. Nothing is ever changed or deleted: a correction is a further
label row, the latest arrival counts, and any earlier moment can be looked at as it was then. No
text reaches the file: every field is checked against a narrow pattern, so a note cannot slip in. A
window is `size` consecutive predictions of one version in one role; late labels fill it, never move
it. The interval is a bootstrap over the window's predictions (patients are not known here). A label
names a prediction or an admission; then it holds for every answer to that admission. A shadow's
answer has the id of the answer it shadows, so one label judges both. What counts is the order of
arrival here; clocks of clients are never compared.
"""

import json
import sqlite3
import threading
import time as clock
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deepicd import codes, scoring
from deepicd.errors import CodeError, DataError, MissingError, MonitoringError
from deepicd.monitoring.drift import Drift, Seen, find_drift
from deepicd.monitoring.field_checks import check_admission, check_fields, check_identifier
from deepicd.monitoring.performance_estimate import judge_confidences
from deepicd.monitoring.schema import (
    ANSWERERS,
    ARRIVALS,
    BY_COUNT,
    BY_TIME,
    COUNTS,
    FOREVER,
    LABELLED,
    PAIRS,
    SEEN,
    WINDOWS,
    prepare,
)
from deepicd.monitoring.subgroups import NUM_LATEST, compare_groups
from deepicd.records import Prediction, ServedPrediction, Window

FILE = "predictions.sqlite"
_STORED, _UNCHANGED, _CORRECTED, _WAITING = "stored", "unchanged", "corrected", "waiting"
"""What became of a label; a waiting one is kept until its prediction is recorded."""

_BUSY_S = 30.0
_MAX_COMPUTED = 10_000

_COLUMNS = (
    *("id", "role", "version", "code", "reason", "time", "confidence"),
    *("num_prompt_tokens", "admission_id", "subgroups", "chapter_confidence", "num_calibration"),
)
_INSERT = (
    f"INSERT OR IGNORE INTO predictions ({', '.join(_COLUMNS)}) "
    f"VALUES ({', '.join(f':{name}' for name in _COLUMNS)})"
)
_FACTS = (
    *("version", "role", "start", "end", "num_predictions", "num_labelled"),
    *("share_unparsable", "share_nonexistent", "mean_confidence"),
)
_SCORES = {
    "hierarchical_f1": "hierarchical_f1",
    "hierarchical_f1_low": "low",
    "hierarchical_f1_high": "high",
    **{f"macro_f1_{level}": f"macro_f1_{level}" for level in ("chapter", "category", "full")},
}
"""Name in `scoring.score_predictions` → field of `Window`."""


@dataclass(frozen=True)
class Pair:
    """One note that two versions answered."""

    id: str
    version: str
    """The shadow."""
    other: str
    """The champion."""
    shadow: str | None
    champion: str | None
    gold: str | None
    """None while it is not labelled."""


class PredictionLog:
    """Append-only log in the folder `path`. Safe between threads and processes; picklable."""

    _lock: threading.Lock
    _connection: sqlite3.Connection | None
    _computed: dict[tuple[Any, ...], Window]

    def __init__(
        self, path: Path | str, *, window: int = 500, num_bootstrap: int = 200, seed: int = 0
    ) -> None:
        """`window` is the default size of `windows`; the rest is about their intervals."""
        self.path = Path(path)
        self.window = window
        self.num_bootstrap = num_bootstrap
        self.seed = seed
        self._forget()

    @classmethod
    def existing(cls, path: Path | str, **options: Any) -> "PredictionLog":
        """The log in that folder. Raises MissingError where there is none."""
        log = cls(path, **options)
        if not log.file.is_file():
            raise MissingError(
                f"no prediction log at {log.file}. Give the folder an endpoint wrote."
            )
        return log

    @property
    def file(self) -> Path:
        """The SQLite file."""
        return self.path / FILE

    def record(self, prediction: ServedPrediction) -> None:
        """Keep one answer. Recording the same answer again changes nothing.

        Raises:
            DataError: a field is not an identifier, code or reason, or the id has another answer.
            MonitoringError: the file cannot be written (a full disk, for example).
        """
        check_fields(prediction)
        row = {name: getattr(prediction, name) for name in _COLUMNS}
        row["subgroups"] = json.dumps(dict(prediction.subgroups), sort_keys=True)
        with self._session(is_writing=True) as session:
            # INSERT OR IGNORE: a client that tries again must not be counted twice.
            done = session.execute(_INSERT, row)
            if not done.rowcount:
                _check_same(session, row)

    def label(
        self,
        key: str,
        code: str,
        *,
        time: float | None = None,
        by: Literal["prediction", "admission"] = "prediction",
    ) -> str:
        """Keep one gold code; the latest arrival counts. Returns what became of it.

        `stored` (first label), `unchanged` (said before), `corrected` (another code than before) or
        `waiting` (no such prediction yet: it is joined when that arrives). `time` is its arrival;
        `key` is a prediction's id, or an admission's.

        Raises:
            CodeError: not a billable ICD-10-CM code of any release.
            DataError: the key cannot be an id.
            MonitoringError: the file cannot be written.
        """
        if by == "admission":
            check_admission(key)
        else:
            check_identifier(key, "prediction id")
        gold = codes.normalise(code)
        if not codes.is_billable(gold):
            raise CodeError(
                f"label of {key} is not a billable ICD-10-CM code of any release. "
                "Send one like I25.10."
            )
        with self._session(is_writing=True) as session:
            before = session.execute(
                "SELECT code FROM labels WHERE id = ? AND kind = ? ORDER BY number DESC LIMIT 1",
                (key, by),
            ).fetchone()
            if before is not None and before["code"] == gold:
                return _UNCHANGED
            arrival = clock.time() if time is None else float(time)
            session.execute(
                "INSERT INTO labels (id, kind, code, time) VALUES (?, ?, ?, ?)",
                (key, by, gold, arrival),
            )
            column = "id" if by == "prediction" else "admission_id"
            answered = session.execute(f"SELECT 1 FROM predictions WHERE {column} = ?", (key,))
            if answered.fetchone() is None:
                return _WAITING
        return _STORED if before is None else _CORRECTED

    def windows(
        self,
        size: int | None = None,
        *,
        period_s: float | None = None,
        as_of: float | None = None,
    ) -> list[Window]:
        """Windows of `size` predictions of one version each, oldest first; the last may be shorter.
        With `period_s` a window is a period of so many seconds instead, counted from 1970 in UTC.

        `as_of` (Unix seconds) shows what was known then: later predictions and labels are left out.
        Windows whose labels have not changed since the last call are not computed again.

        Raises:
            DataError: `size` is below 1, or `period_s` is not above 0.
            MonitoringError: the file cannot be read.
        """
        size = self.window if size is None else size
        if size < 1:
            raise DataError(f"a window holds at least 1 prediction; got {size}. Give --window 100.")
        if period_s is not None and not period_s > 0:
            raise DataError(f"a window lasts more than 0 s; got {period_s:g}. Give --hours 24.")
        bound: dict[str, Any] = {
            "size": size,
            "period_s": period_s,
            "as_of": FOREVER if as_of is None else as_of,
        }
        statement = WINDOWS.format(place=BY_COUNT if period_s is None else BY_TIME)
        with self._session() as session:
            session.execute("BEGIN")  # one snapshot for bounds and rows, whatever is written
            try:
                rows = [dict(row) for row in session.execute(statement, bound)]
                return [self._window(session, row, bound["as_of"]) for row in rows]
            finally:
                session.execute("COMMIT")

    def pairs(self) -> list[Pair]:
        """Every note that a shadow answered beside the champion, with its label if any."""
        with self._session() as session:
            return [Pair(**dict(row)) for row in session.execute(PAIRS, {"as_of": FOREVER})]

    def drift(self) -> list[Drift]:
        """First window against latest one of every version and role that has two."""
        drifts = []
        with self._session() as session:
            for row in session.execute(ANSWERERS).fetchall():
                # With fewer the first and the latest window would share answers.
                if row["num"] < 2 * self.window:
                    continue
                bound = {**dict(row), "num": self.window}
                first, latest = (
                    [
                        Seen(**dict(answer))
                        for answer in session.execute(SEEN.format(order=order), bound)
                    ]
                    for order in ("ASC", "DESC")
                )
                drifts += find_drift(first, latest, version=row["version"], role=row["role"])
        return drifts

    def subgroups(self) -> list[dict[str, Any]]:
        """Quality by subgroup, over the latest labelled answers of every version and role."""
        quality = []
        bound = dict.fromkeys(("last", "end", "as_of"), FOREVER) | {"first": 0, "start": 0}
        # The same query from its end: an old window's answers say little about today's groups.
        latest = LABELLED.replace("ORDER BY p.number", "ORDER BY p.number DESC LIMIT :most")
        with self._session() as session:
            for who in session.execute(ANSWERERS).fetchall():
                selection = {**bound, **dict(who), "most": NUM_LATEST}
                rows = session.execute(latest, selection).fetchall()
                predictions = [_prediction(row) for row in rows]
                groups = [json.loads(row["subgroups"]) for row in rows]
                answerer = {"version": who["version"], "role": who["role"]}
                quality += [answerer | row for row in compare_groups(predictions, groups)]
        return quality

    def tables(self, names: Sequence[str]) -> dict[str, tuple[list[str], list[tuple[Any, ...]]]]:
        """Columns and rows of tables, in order of arrival, as of one moment."""
        contents = {}
        with self._session() as session:
            session.execute("BEGIN")
            try:
                for name in names:
                    rows = session.execute(f"SELECT * FROM {name} ORDER BY number")
                    columns = [column[0] for column in rows.description]
                    contents[name] = (columns, [tuple(row) for row in rows])
            finally:
                session.execute("COMMIT")
        return contents

    def counts(self) -> dict[str, int]:
        """`num_predictions`, `num_labelled`, `num_unparsable`, `num_waiting` (for a prediction)."""
        with self._session() as session:
            return dict(session.execute(COUNTS).fetchone())

    def arrivals(self) -> dict[str, int]:
        """Rows of `predictions` and of `labels`, corrections included: equal ones mean that nothing
        has arrived, since nothing is ever deleted.
        """
        with self._session() as session:
            return dict(session.execute(ARRIVALS).fetchone())

    def close(self) -> None:
        """Give the file back; the next call opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _window(self, session: sqlite3.Connection, row: Mapping[str, Any], as_of: float) -> Window:
        # The row holds the number of the newest label, so a window with a new one is a new key.
        key = (as_of, *row.values())
        if key not in self._computed:
            # All at once: most keys are of windows before a later label, and not asked for again.
            if len(self._computed) >= _MAX_COMPUTED:
                self._computed.clear()
            rows = session.execute(LABELLED, {**row, "as_of": as_of}).fetchall()
            scores = self._score([_prediction(labelled) for labelled in rows])
            kept = {name: row[name] for name in _FACTS}
            facts: dict[str, Any] = {
                **kept,
                **scores,
                **judge_confidences(row, [dict(labelled) for labelled in rows]),
            }
            self._computed[key] = Window(**facts)
        return self._computed[key]

    def _score(self, predictions: Sequence[Prediction]) -> dict[str, float | None]:
        """The scores of `Window`; None where nothing is labelled."""
        if not predictions:
            return dict.fromkeys(_SCORES.values())
        few = scoring.has_few_patients(len(predictions))
        scores = scoring.score_predictions(
            predictions, num_bootstrap=self.num_bootstrap, seed=self.seed
        )
        kept = {field: scores[name] for name, field in _SCORES.items()}
        return {**kept, "has_few_patients": few}

    @contextmanager
    def _session(self, *, is_writing: bool = False) -> Iterator[sqlite3.Connection]:
        """The connection, held by this thread; a writing session is one transaction."""
        try:
            with self._lock:
                session = self._open()
                if not is_writing:
                    yield session
                    return
                # At once for writing: who reads first and then writes is refused when another
                # process wrote in between.
                session.execute("BEGIN IMMEDIATE")
                try:
                    yield session
                except BaseException:
                    # On a full disk SQLite has rolled back by itself.
                    if session.in_transaction:
                        session.execute("ROLLBACK")
                    raise
                session.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise MonitoringError(
                f"{self.file} cannot be used: {error}. Check free space and rights of the folder."
            ) from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.mkdir(parents=True, exist_ok=True)
            session = sqlite3.connect(
                # Transactions are begun by hand, and `_lock` lets one thread in at a time.
                self.file,
                timeout=_BUSY_S,
                isolation_level=None,
                check_same_thread=False,
            )
            session.row_factory = sqlite3.Row
            # Write-ahead: readers never wait for the endpoint. NORMAL may lose the last rows in a
            # power cut and never damages the file; FULL would cost a disk flush for every answer.
            session.execute("PRAGMA journal_mode = WAL")
            session.execute("PRAGMA synchronous = NORMAL")
            prepare(session)
            self._connection = session
        return self._connection

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._connection = None
        self._computed = {}

    def __getstate__(self) -> dict[str, Any]:
        # Neither a lock nor a connection can be pickled; the copy opens its own.
        kept = ("path", "window", "num_bootstrap", "seed")
        return {name: getattr(self, name) for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()


def _check_same(session: sqlite3.Connection, row: Mapping[str, Any]) -> None:
    recorded = session.execute(
        "SELECT version, code, reason FROM predictions WHERE id = :id AND role = :role", row
    ).fetchone()
    if tuple(recorded) != (row["version"], row["code"], row["reason"]):
        raise DataError(
            f"prediction {row['id']} was recorded before with another answer. Use a new id."
        )


def _prediction(row: sqlite3.Row) -> Prediction:
    return Prediction(row["id"], row["id"], row["gold"], row["prediction"], row["reason"])
