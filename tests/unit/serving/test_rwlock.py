"""Order between requests and a change of weights in one engine."""

import asyncio

import pytest

from deepicd.errors import ServingError
from deepicd.serving.engine.rwlock import Turnstile


def test_a_change_waits_for_requests_and_requests_wait_for_the_change() -> None:
    seen: list[str] = []

    async def request(gate: Turnstile, name: str, *, takes_s: float = 0.0) -> None:
        async with gate.passing():
            seen.append(f"{name} in")
            await asyncio.sleep(takes_s)
            seen.append(f"{name} out")

    async def change(gate: Turnstile) -> None:
        async with gate.closed(5.0):
            seen.append("change")
            await asyncio.sleep(0.02)
            seen.append("changed")

    async def play() -> None:
        gate = Turnstile()
        early = [asyncio.create_task(request(gate, f"r{i}", takes_s=0.05)) for i in range(2)]
        await asyncio.sleep(0.01)
        changing = asyncio.create_task(change(gate))
        await asyncio.sleep(0.01)
        late = asyncio.create_task(request(gate, "late"))
        await asyncio.gather(*early, changing, late)

    asyncio.run(play())
    assert seen[:2] == ["r0 in", "r1 in"] and sorted(seen[2:4]) == ["r0 out", "r1 out"]
    assert seen[4:] == ["change", "changed", "late in", "late out"]


def test_a_change_gives_up_on_requests_that_do_not_end_and_lets_others_in() -> None:
    async def play() -> None:
        gate = Turnstile()
        async with gate.passing():
            with pytest.raises(ServingError, match="1 requests did not end within"):
                async with gate.closed(0.01):
                    raise AssertionError("closed with a request inside")
            async with gate.passing():
                pass
        async with gate.closed(1.0):
            with pytest.raises(ServingError, match="being changed already"):
                async with gate.closed(1.0):
                    raise AssertionError("two changes at once")

    asyncio.run(play())


def test_a_request_or_a_change_that_fails_leaves_the_turnstile_open() -> None:
    async def play() -> None:
        gate = Turnstile()
        for way in (gate.passing(), gate.closed(1.0)):
            with pytest.raises(ValueError, match="inside"):
                async with way:
                    raise ValueError("inside")
        waiting = asyncio.create_task(enter(gate))
        await asyncio.wait_for(waiting, 1.0)

    async def enter(gate: Turnstile) -> None:
        async with gate.passing():
            pass

    asyncio.run(play())
