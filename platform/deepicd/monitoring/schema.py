"""The prediction log's SQLite schema and its SQL statements.

In: a connection. Out: the tables; statements. Decided here: tables of another layout are refused.
What a label says holds from its arrival (`:as_of`), and of several the one that arrived last.
"""

import sqlite3

from deepicd.errors import MonitoringError

FOREVER = 1e18
"""`:as_of` for everything that is known."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS predictions (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL, role TEXT NOT NULL DEFAULT 'champion',
    version TEXT NOT NULL, code TEXT, reason TEXT, time REAL NOT NULL, confidence REAL,
    num_prompt_tokens INTEGER, admission_id TEXT, subgroups TEXT NOT NULL DEFAULT '{}',
    chapter_confidence REAL, num_calibration INTEGER, UNIQUE (id, role));
CREATE TABLE IF NOT EXISTS labels (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL, code TEXT NOT NULL, time REAL NOT NULL,
    kind TEXT NOT NULL DEFAULT 'prediction');
CREATE INDEX IF NOT EXISTS labels_by_id ON labels (id, number);
CREATE INDEX IF NOT EXISTS predictions_by_version ON predictions (version, number);
CREATE INDEX IF NOT EXISTS predictions_by_admission ON predictions (admission_id)
    WHERE admission_id IS NOT NULL;
"""
_LAYOUT = 2
"""Number of the tables above, kept as SQLite's `user_version`; to be raised when they change."""
_GOLD = """
gold AS (
    SELECT prediction, max(label) AS label FROM (
        SELECT p.number AS prediction, l.number AS label FROM labels AS l JOIN predictions AS p
        ON l.kind = 'prediction' AND p.id = l.id WHERE l.time <= :as_of
        UNION ALL
        SELECT p.number, l.number FROM labels AS l JOIN predictions AS p
        ON l.kind = 'admission' AND p.admission_id = l.id WHERE l.time <= :as_of)
    GROUP BY prediction)
"""

# Integers, so SQLite's division rounds down: 0 for the first `:size` predictions, then 1.
BY_COUNT = "(row_number() OVER (PARTITION BY version, role ORDER BY number) - 1) / :size"
BY_TIME = "CAST(time / :period_s AS INTEGER)"
"""Place of a prediction: its window's number."""

# `coalesce`: a usable answer has no reason, `NULL IN (...)` is NULL, and avg would leave it out.
WINDOWS = f"""
WITH placed AS (
    SELECT *, {{place}} AS place
    FROM predictions WHERE time <= :as_of),
{_GOLD}
SELECT version, role, min(number) AS first, max(number) AS last, min(time) AS start,
       max(time) AS "end", count(*) AS num_predictions, count(label) AS num_labelled,
       max(label) AS newest_label, avg(code IS NULL) AS share_unparsable,
       avg(coalesce(reason IN ('unknown_code', 'not_billable'), 0)) AS share_nonexistent,
       avg(confidence) AS mean_confidence,
       total(chapter_confidence) AS promised, count(chapter_confidence) AS num_promised,
       total(chapter_confidence * chapter_confidence) AS promised_squares,
       coalesce(min(num_calibration), 0) AS num_calibration
FROM placed LEFT JOIN gold ON prediction = number GROUP BY version, role, place ORDER BY first
"""

# Bounds in number and in time: windows by time may overlap in numbers, those by count in times.
LABELLED = """
SELECT p.id AS id, p.code AS prediction, p.reason AS reason, labels.code AS gold,
       p.confidence AS confidence, p.subgroups AS subgroups,
       p.chapter_confidence AS chapter_confidence
FROM predictions AS p JOIN labels ON labels.number = (
    SELECT max(l.number) FROM labels AS l WHERE l.time <= :as_of AND (
        (l.kind = 'prediction' AND l.id = p.id)
        OR (l.kind = 'admission' AND l.id = p.admission_id)))
WHERE p.version = :version AND p.role = :role AND p.number BETWEEN :first AND :last
  AND p.time <= :as_of AND p.time BETWEEN :start AND :end
ORDER BY p.number
"""

PAIRS = f"""
WITH {_GOLD}
SELECT a.id AS id, a.version AS version, b.version AS other, a.code AS shadow, b.code AS champion,
       labels.code AS gold
FROM predictions AS a JOIN predictions AS b ON a.id = b.id
LEFT JOIN gold ON gold.prediction = b.number LEFT JOIN labels ON labels.number = gold.label
WHERE a.role = 'shadow' AND b.role = 'champion' ORDER BY a.number
"""

ANSWERERS = """
SELECT version, role, count(*) AS num FROM predictions GROUP BY version, role ORDER BY min(number)
"""
SEEN = """
SELECT code, reason, num_prompt_tokens FROM predictions
WHERE version = :version AND role = :role ORDER BY number {order} LIMIT :num
"""

# FOREVER stands in the text, because `counts` binds nothing.
COUNTS = f"""
WITH {_GOLD.replace(":as_of", str(FOREVER))}
SELECT (SELECT count(*) FROM predictions) AS num_predictions,
       (SELECT count(*) FROM gold) AS num_labelled,
       (SELECT count(DISTINCT kind || id) FROM labels AS l WHERE NOT EXISTS (
            SELECT 1 FROM predictions AS p WHERE (l.kind = 'prediction' AND p.id = l.id)
            OR (l.kind = 'admission' AND p.admission_id = l.id))) AS num_waiting,
       (SELECT count(*) FROM predictions WHERE code IS NULL) AS num_unparsable
"""

ARRIVALS = """
SELECT (SELECT count(*) FROM predictions) AS predictions, (SELECT count(*) FROM labels) AS labels
"""


def prepare(session: sqlite3.Connection) -> None:
    """Make the tables where there are none, in one transaction.

    Raises:
        MonitoringError: the file holds tables of another layout.
    """
    # At once for writing, so that of two processes that open a new file one makes the tables.
    session.execute("BEGIN IMMEDIATE")
    try:
        (layout,) = session.execute("PRAGMA user_version").fetchone()
        tables = session.execute("SELECT 1 FROM sqlite_master WHERE name = 'predictions'")
        if tables.fetchone() is not None and layout != _LAYOUT:
            raise MonitoringError(
                f"the prediction log has layout {layout} and this version reads layout {_LAYOUT}. "
                "Move the file aside; a new log begins."
            )
        # One by one: `executescript` would end the transaction that was begun above.
        for statement in _SCHEMA.split(";"):
            session.execute(statement)
        session.execute(f"PRAGMA user_version = {_LAYOUT}")
        session.execute("COMMIT")
    except BaseException:
        if session.in_transaction:
            session.execute("ROLLBACK")
        raise
