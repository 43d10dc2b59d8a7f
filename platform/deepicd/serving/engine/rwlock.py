"""Who may use the engine: any number of requests, or one change of its weights.

In: requests that pass, and a change that closes the turnstile. Out: order. Decided here: a request
keeps the weights it began with to its end, those that come during a change wait for it, and a
change waits for the requests under way, but not for ever.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from deepicd.errors import ServingError


class Turnstile:
    """Shared by the requests of one engine, in one event loop."""

    def __init__(self) -> None:
        self._condition = asyncio.Condition()
        self._num_inside = 0
        self._is_closed = False

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """For a request, from its first use of the engine to its last."""
        async with self._condition:
            await self._condition.wait_for(lambda: not self._is_closed)
            self._num_inside += 1
        try:
            yield
        finally:
            async with self._condition:
                self._num_inside -= 1
                self._condition.notify_all()

    @asynccontextmanager
    async def closed(self, patience_s: float) -> AsyncIterator[None]:
        """For a change: nobody is inside.

        Raises:
            ServingError: another change is going on, or requests did not end in that time.
        """
        async with self._condition:
            if self._is_closed:
                raise ServingError("the weights are being changed already. Try again later.")
            self._is_closed = True
        try:
            await self._wait_until_empty(patience_s)
            yield
        finally:
            async with self._condition:
                self._is_closed = False
                self._condition.notify_all()

    async def _wait_until_empty(self, patience_s: float) -> None:
        async with self._condition:
            empty = self._condition.wait_for(lambda: self._num_inside == 0)
            try:
                await asyncio.wait_for(empty, patience_s)
            except TimeoutError:
                raise ServingError(
                    f"{self._num_inside} requests did not end within {patience_s:g} s, so the "
                    "weights were not changed. Try again when there are fewer."
                ) from None
