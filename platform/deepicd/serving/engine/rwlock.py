"""A readers-writer lock for the weights of one engine.

In: requests, which read the weights, and a change of weights, which writes them. Out: order between
them. Decided here: many requests read at the same time; a writer waits for the requests under way,
but not for ever; requests that come while a writer waits or writes are held back, so that a busy
endpoint cannot put a change off without end.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from deepicd.errors import ServingError


class RWLock:
    """Shared by the requests of one engine, in one event loop."""

    def __init__(self) -> None:
        self._condition = asyncio.Condition()
        self._num_readers = 0
        self._has_writer = False

    @asynccontextmanager
    async def read(self) -> AsyncIterator[None]:
        """Hold the weights as they are for one request, from its first use of them to its last."""
        async with self._condition:
            await self._condition.wait_for(lambda: not self._has_writer)
            self._num_readers += 1
        try:
            yield
        finally:
            async with self._condition:
                self._num_readers -= 1
                self._condition.notify_all()

    @asynccontextmanager
    async def write(self, timeout_s: float) -> AsyncIterator[None]:
        """Hold the weights alone, to change them; waits up to `timeout_s` seconds for the readers.

        Raises:
            ServingError: another change is going on, or requests did not end in that time.
        """
        async with self._condition:
            # A second change is refused, not queued: it would hold all requests back twice.
            if self._has_writer:
                raise ServingError("the weights are being changed already. Try again later.")
            # Before the readers are gone, so that those who come now wait behind this change.
            self._has_writer = True
        try:
            await self._wait_for_readers(timeout_s)
            yield
        finally:
            async with self._condition:
                self._has_writer = False
                self._condition.notify_all()

    async def _wait_for_readers(self, timeout_s: float) -> None:
        async with self._condition:
            no_readers = self._condition.wait_for(lambda: self._num_readers == 0)
            try:
                await asyncio.wait_for(no_readers, timeout_s)
            except TimeoutError:
                raise ServingError(
                    f"{self._num_readers} requests did not end within {timeout_s:g} s, so the "
                    "weights were not changed. Try again when there are fewer."
                ) from None
