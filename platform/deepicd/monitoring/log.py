"""The prediction log: what the endpoint answered, and what later turned out to be right.

In: predictions as they are served, labels as they arrive (days later, twice, corrected, before
their prediction, or for one that was never made). Out: windows of hierarchical F1 with intervals.
Decided here: one SQLite file in write-ahead mode, so several server processes and a reader share it
and a killed one leaves whole rows. Nothing is ever changed or deleted: a correction is a further
label row, the latest arrival counts, and any earlier moment can be looked at as it was then. No
text reaches the file: every field is checked against a narrow pattern, so a note cannot slip in. A
window is `size` consecutive predictions of one version; late labels fill it, never move it. The
interval is a bootstrap over the window's predictions (patients are not known here).
"""

import re
import sqlite3
import threading
import time as clock
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepicd import codes, scoring
from deepicd.errors import CodeError, DataError, MissingError, MonitoringError
from deepicd.records import Prediction, ServedPrediction, Window

FILE = "predictions.sqlite"
STORED, UNCHANGED, CORRECTED, WAITING = "stored", "unchanged", "corrected", "waiting"
"""What became of a label; a waiting one is kept until its prediction is recorded."""

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
_REASON = re.compile(r"[a-z][a-z0-9_]{0,63}")
_CODE = re.compile(r"[A-Z][0-9A-Z]{2,6}")
_FOREVER = 1e18
_BUSY_S = 30.0
_MAX_COMPUTED = 10_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS predictions (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, version TEXT NOT NULL,
    code TEXT, reason TEXT, time REAL NOT NULL);
CREATE TABLE IF NOT EXISTS labels (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL, code TEXT NOT NULL, time REAL NOT NULL);
CREATE INDEX IF NOT EXISTS labels_by_id ON labels (id, number);
CREATE INDEX IF NOT EXISTS predictions_by_version ON predictions (version, number);
"""

_WINDOWS = """
WITH placed AS (
    SELECT number, id, version, time,
           (row_number() OVER (PARTITION BY version ORDER BY number) - 1) / :size AS place
    FROM predictions WHERE time <= :as_of),
latest AS (
    SELECT id, max(number) AS label FROM labels WHERE time <= :as_of GROUP BY id)
SELECT version, min(number) AS first, max(number) AS last, min(time) AS start, max(time) AS "end",
       count(*) AS num_predictions, count(label) AS num_labelled, max(label) AS newest_label
FROM placed LEFT JOIN latest USING (id) GROUP BY version, place ORDER BY first
"""

_LABELLED = """
SELECT id, predictions.code AS prediction, reason, labels.code AS gold
FROM predictions JOIN labels USING (id)
WHERE version = :version AND predictions.number BETWEEN :first AND :last
  AND predictions.time <= :as_of AND labels.number = (
      SELECT max(number) FROM labels AS l WHERE l.id = predictions.id AND l.time <= :as_of)
ORDER BY predictions.number
"""

_COUNTS = """
SELECT (SELECT count(*) FROM predictions) AS num_predictions,
       (SELECT count(*) FROM predictions WHERE id IN (SELECT id FROM labels)) AS num_labelled,
       (SELECT count(DISTINCT id) FROM labels
        WHERE id NOT IN (SELECT id FROM predictions)) AS num_waiting,
       (SELECT count(*) FROM predictions WHERE code IS NULL) AS num_unparsable
"""


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
        _check(prediction.id, _IDENTIFIER, "prediction id")
        _check(prediction.version, _IDENTIFIER, "version")
        if prediction.code is not None:
            _check(prediction.code, _CODE, "code")
        if prediction.reason is not None:
            _check(prediction.reason, _REASON, "reason")
        names = ("id", "version", "code", "reason", "time")
        row = tuple(getattr(prediction, name) for name in names)
        with self._session(is_writing=True) as session:
            done = session.execute(
                "INSERT OR IGNORE INTO predictions (id, version, code, reason, time) "
                "VALUES (?, ?, ?, ?, ?)",
                row,
            )
            if not done.rowcount:
                _check_same(session, row)

    def label(self, prediction_id: str, code: str, *, time: float | None = None) -> str:
        """Keep one gold code; the latest arrival counts. Returns what became of it.

        `stored` (first label), `unchanged` (said before), `corrected` (another code than before) or
        `waiting` (no such prediction yet: it is joined when that arrives). `time` is its arrival.

        Raises:
            CodeError: not a billable ICD-10-CM code of any release.
            DataError: the id cannot be a prediction id.
            MonitoringError: the file cannot be written.
        """
        _check(prediction_id, _IDENTIFIER, "prediction id")
        gold = codes.normalise(code)
        if not codes.is_billable(gold):
            raise CodeError(
                f"label of {prediction_id} is not a billable ICD-10-CM code of any release. "
                "Send one like I25.10."
            )
        with self._session(is_writing=True) as session:
            before = session.execute(
                "SELECT code FROM labels WHERE id = ? ORDER BY number DESC LIMIT 1",
                (prediction_id,),
            ).fetchone()
            if before is not None and before["code"] == gold:
                return UNCHANGED
            arrival = clock.time() if time is None else float(time)
            session.execute(
                "INSERT INTO labels (id, code, time) VALUES (?, ?, ?)",
                (prediction_id, gold, arrival),
            )
            known = session.execute("SELECT 1 FROM predictions WHERE id = ?", (prediction_id,))
            if known.fetchone() is None:
                return WAITING
        return STORED if before is None else CORRECTED

    def windows(self, size: int | None = None, *, as_of: float | None = None) -> list[Window]:
        """Windows of `size` predictions of one version each, oldest first; the last may be shorter.

        `as_of` (Unix seconds) shows what was known then: later predictions and labels are left out.
        Windows whose labels have not changed since the last call are not computed again.

        Raises:
            DataError: `size` is below 1.
            MonitoringError: the file cannot be read.
        """
        size = self.window if size is None else size
        if size < 1:
            raise DataError(f"a window holds at least 1 prediction; got {size}. Give --window 100.")
        bound = {"size": size, "as_of": _FOREVER if as_of is None else as_of}
        with self._session() as session:
            session.execute("BEGIN")  # one snapshot for bounds and rows
            try:
                found = [dict(row) for row in session.execute(_WINDOWS, bound)]
                return [self._window(session, row, bound["as_of"]) for row in found]
            finally:
                session.execute("COMMIT")

    def counts(self) -> dict[str, int]:
        """`num_predictions`, `num_labelled`, `num_unparsable`, `num_waiting` (for a prediction)."""
        with self._session() as session:
            return dict(session.execute(_COUNTS).fetchone())

    def close(self) -> None:
        """Give the file back; the next call opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _window(self, session: sqlite3.Connection, row: Mapping[str, Any], as_of: float) -> Window:
        key = (as_of, *row.values())
        if key not in self._computed:
            if len(self._computed) >= _MAX_COMPUTED:
                self._computed.clear()
            rows = session.execute(_LABELLED, {**row, "as_of": as_of}).fetchall()
            value, low, high = self._score([_prediction(found) for found in rows])
            self._computed[key] = Window(
                version=row["version"],
                start=row["start"],
                end=row["end"],
                num_predictions=row["num_predictions"],
                num_labelled=row["num_labelled"],
                hierarchical_f1=value,
                low=low,
                high=high,
            )
        return self._computed[key]

    def _score(
        self, predictions: Sequence[Prediction]
    ) -> tuple[float | None, float | None, float | None]:
        if not predictions:
            return None, None, None
        scores = scoring.score_predictions(
            predictions, num_bootstrap=self.num_bootstrap, seed=self.seed
        )
        name = "hierarchical_f1"
        return scores[name], scores[f"{name}_low"], scores[f"{name}_high"]

    @contextmanager
    def _session(self, *, is_writing: bool = False) -> Iterator[sqlite3.Connection]:
        """The connection, held by this thread; a writing session is one transaction."""
        try:
            with self._lock:
                session = self._open()
                if not is_writing:
                    yield session
                    return
                session.execute("BEGIN IMMEDIATE")
                try:
                    yield session
                except BaseException:
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
                self.file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            session.row_factory = sqlite3.Row
            session.execute("PRAGMA journal_mode = WAL")
            session.execute("PRAGMA synchronous = NORMAL")
            session.executescript(_SCHEMA)
            self._connection = session
        return self._connection

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._connection = None
        self._computed = {}

    def __getstate__(self) -> dict[str, Any]:
        kept = ("path", "window", "num_bootstrap", "seed")
        return {name: getattr(self, name) for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()


def _check(value: str, pattern: re.Pattern[str], name: str) -> None:
    if not pattern.fullmatch(value):
        raise DataError(  # the value itself is not shown: it might be text of a note
            f"{name} must match {pattern.pattern}; got {len(value)} characters that do not. "
            "The log keeps identifiers and codes only."
        )


def _check_same(session: sqlite3.Connection, row: tuple[Any, ...]) -> None:
    known = session.execute(
        "SELECT id, version, code, reason FROM predictions WHERE id = ?", row[:1]
    ).fetchone()
    if tuple(known) != row[:4]:
        raise DataError(
            f"prediction {row[0]} was recorded before with another answer. Use a new id."
        )


def _prediction(row: sqlite3.Row) -> Prediction:
    return Prediction(row["id"], row["id"], row["gold"], row["prediction"], row["reason"])
