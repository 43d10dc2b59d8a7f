"""The prediction log for an asynchronous server, which goes on when the log fails.

In: answers and labels. Out: the monitor's report. Decided here: one thread does all reading and
writing, so that neither SQLite nor the bootstrap of a report blocks the event loop; a failed write
makes the log `blind` (said in `/healthz` and `/v1/monitor`) until one succeeds, and is logged once,
without its message.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

from deepicd.errors import CodeError, DataError
from deepicd.monitoring.monitor import Monitor, Report
from deepicd.monitoring.prediction_log import PredictionLog
from deepicd.records import ServedPrediction
from deepicd.serving.errors import RefusedError
from deepicd.serving.settings import ServingSettings

T = TypeVar("T")

logger = logging.getLogger("deepicd.serving")


def open_log(settings: ServingSettings) -> PredictionLog | None:
    """The log that the settings name; None where they name none."""
    if settings.log is None:
        return None
    return PredictionLog(settings.log, window=settings.config.window)


class AsyncPredictionLog:
    """Asynchronous interface of a `PredictionLog`, or of none."""

    def __init__(self, log: PredictionLog | None) -> None:
        self._log = log
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prediction-log")
        self._is_blind = False

    @property
    def status(self) -> str:
        """`on`; `off` (no log is configured); or `blind` (the last write failed)."""
        if self._log is None:
            return "off"
        return "blind" if self._is_blind else "on"

    async def record(self, prediction: ServedPrediction) -> None:
        """Keep one answer; never raises."""
        log = self._log
        if log is None:
            return
        try:
            await self._run(lambda: log.record(prediction))
        except Exception as error:  # the wall of monitoring: serving goes on
            if not self._is_blind:
                logger.error("predictions are not being kept: %s", type(error).__name__)
            self._is_blind = True
        else:
            self._is_blind = False

    async def label(
        self, key: str, code: str, *, by: Literal["prediction", "admission"] = "prediction"
    ) -> str:
        """Keep one label; returns what became of it in a word.

        Raises:
            RefusedError: no log is configured, it cannot take this label, or it cannot be written.
        """
        log = self._require_log()
        now = time.time()
        try:
            return await self._run(lambda: log.label(key, code, time=now, by=by))
        except (CodeError, DataError):
            raise RefusedError(
                "the label is not accepted: send the prediction_id of a reply and a billable "
                "ICD-10-CM code.",
                status=422,
            ) from None
        except Exception as error:
            logger.error("a label was not kept: %s", type(error).__name__)
            raise RefusedError(
                "the label could not be kept: the prediction log cannot be written. Check the disk "
                "of the endpoint, then send it again.",
                status=503,
                headers={"retry-after": "30"},
            ) from None

    async def report(self) -> Report | None:
        """Everything that the log tells now; None without a log."""
        if self._log is None:
            return None
        return await self._run(Monitor(self._log).report)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _require_log(self) -> PredictionLog:
        if self._log is None:
            raise RefusedError(
                "this endpoint keeps no predictions, so it takes no labels. Start it with a "
                "prediction log (deepicd serve does).",
                status=503,
            )
        return self._log
