"""Order between requests and a change of weights in one engine."""

import asyncio

import pytest

from deepicd.errors import ServingError
from deepicd.serving.engine.rwlock import RWLock


def test_a_change_waits_for_requests_and_requests_wait_for_the_change() -> None:
    seen: list[str] = []

    async def request(lock: RWLock, name: str, *, takes_s: float = 0.0) -> None:
        async with lock.read():
            seen.append(f"{name} in")
            await asyncio.sleep(takes_s)
            seen.append(f"{name} out")

    async def change(lock: RWLock) -> None:
        async with lock.write(5.0):
            seen.append("change")
            await asyncio.sleep(0.02)
            seen.append("changed")

    async def play() -> None:
        lock = RWLock()
        early = [asyncio.create_task(request(lock, f"r{i}", takes_s=0.05)) for i in range(2)]
        await asyncio.sleep(0.01)
        changing = asyncio.create_task(change(lock))
        await asyncio.sleep(0.01)
        late = asyncio.create_task(request(lock, "late"))
        await asyncio.gather(*early, changing, late)

    asyncio.run(play())
    assert seen[:2] == ["r0 in", "r1 in"] and sorted(seen[2:4]) == ["r0 out", "r1 out"]
    assert seen[4:] == ["change", "changed", "late in", "late out"]


def test_a_change_gives_up_on_requests_that_do_not_end_and_lets_others_in() -> None:
    async def play() -> None:
        lock = RWLock()
        async with lock.read():
            with pytest.raises(ServingError, match="1 requests did not end within"):
                async with lock.write(0.01):
                    raise AssertionError("closed with a request inside")
            async with lock.read():
                pass
        async with lock.write(1.0):
            with pytest.raises(ServingError, match="being changed already"):
                async with lock.write(1.0):
                    raise AssertionError("two changes at once")

    asyncio.run(play())


def test_a_request_or_a_change_that_fails_leaves_the_lock_free() -> None:
    async def play() -> None:
        lock = RWLock()
        for way in (lock.read(), lock.write(1.0)):
            with pytest.raises(ValueError, match="inside"):
                async with way:
                    raise ValueError("inside")
        waiting = asyncio.create_task(enter(lock))
        await asyncio.wait_for(waiting, 1.0)

    async def enter(lock: RWLock) -> None:
        async with lock.read():
            pass

    asyncio.run(play())
