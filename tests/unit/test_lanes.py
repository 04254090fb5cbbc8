"""Lanes: in order within a key, at once across keys, up to a limit; nothing is left behind."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import pytest

from worker.lanes import Abandoned, Lanes


class Gate:
    """Work that waits until it is let go, and notes what it was given."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[int]]] = []
        self.open = asyncio.Event()
        self.running = self.most = 0

    async def work(self, key: str, items: Sequence[int]) -> Sequence[str]:
        self.batches.append((key, list(items)))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.open.wait()
        finally:
            self.running -= 1
        if -1 in items:
            raise ValueError("broken")
        return [f"{key}{item}" for item in items]


async def spin() -> None:
    """Lets everything that can run do so."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def gate() -> Gate:
    return Gate()


async def test_what_gathers_while_a_key_is_worked_on_is_its_next_batch_in_order(gate: Gate) -> None:
    # Given
    lanes = Lanes(gate.work, limit=10)
    first = asyncio.ensure_future(lanes.submit("a", 0))
    await spin()
    # When
    rest = [asyncio.ensure_future(lanes.submit("a", item)) for item in (1, 2, 3)]
    await spin()
    assert gate.batches == [("a", [0])]
    gate.open.set()
    # Then
    assert await asyncio.gather(first, *rest) == ["a0", "a1", "a2", "a3"]
    assert gate.batches == [("a", [0]), ("a", [1, 2, 3])]


async def test_different_keys_are_worked_on_at_once_up_to_the_limit(gate: Gate) -> None:
    lanes = Lanes(gate.work, limit=3)
    tasks = [asyncio.ensure_future(lanes.submit(f"k{number}", number)) for number in range(9)]
    await spin()
    assert (gate.running, lanes.running, len(lanes)) == (3, 3, 9)
    gate.open.set()
    await asyncio.gather(*tasks)
    assert gate.most == 3


async def test_a_slow_key_holds_up_no_other(gate: Gate) -> None:
    slow = asyncio.Event()

    async def work(key: str, items: Sequence[int]) -> Sequence[int]:
        if key == "slow":
            await slow.wait()
        return items

    lanes: Lanes[str, int, int] = Lanes(work, limit=2)
    waiting = asyncio.ensure_future(lanes.submit("slow", 0))
    assert await asyncio.gather(*(lanes.submit(f"k{number}", number) for number in range(50))) == list(range(50))
    slow.set()
    await waiting


async def test_work_that_stands_aside_gives_its_place_to_another_key(gate: Gate) -> None:
    # Given one place, whose work waits for something that is not its own
    free = asyncio.Event()

    async def work(key: str, items: Sequence[int]) -> Sequence[str]:
        if key == "contended":
            with lanes.aside():
                await free.wait()
        return await gate.work(key, items)

    lanes = Lanes(work, limit=1)
    contended = asyncio.ensure_future(lanes.submit("contended", 0))
    await spin()
    # When
    others = [asyncio.ensure_future(lanes.submit(key, 1)) for key in ("b", "c")]
    await spin()
    # Then one of the others is worked on, and no more
    assert gate.batches == [("b", [1])]
    free.set()
    gate.open.set()
    assert await asyncio.gather(contended, *others) == ["contended0", "b1", "c1"]
    await asyncio.wait_for(lanes.idle(), 1)


async def test_an_error_reaches_everyone_in_the_batch_and_no_one_else(gate: Gate) -> None:
    lanes = Lanes(gate.work, limit=1)
    gate.open.set()
    results = await asyncio.gather(lanes.submit("a", -1), lanes.submit("a", 1), lanes.submit("b", 2), return_exceptions=True)
    assert [type(each) for each in results] == [ValueError, ValueError, str]
    assert await lanes.submit("a", 3) == "a3"


async def test_abandoning_lets_go_of_what_was_not_begun_and_finishes_the_rest(gate: Gate) -> None:
    # Given
    lanes = Lanes(gate.work, limit=1)
    begun = asyncio.ensure_future(lanes.submit("a", 0))
    await spin()
    waiting = [asyncio.ensure_future(lanes.submit(key, 1)) for key in ("a", "b")]
    await spin()
    # When
    lanes.abandon()
    gate.open.set()
    # Then
    assert await begun == "a0"
    assert [type(each) for each in await asyncio.gather(*waiting, return_exceptions=True)] == [Abandoned, Abandoned]
    with pytest.raises(Abandoned):
        await lanes.submit("c", 1)
    await lanes.idle()
    lanes.open()
    assert await lanes.submit("c", 2) == "c2"


async def test_a_batch_is_never_larger_than_allowed(gate: Gate) -> None:
    lanes = Lanes(gate.work, limit=1, largest_batch=4)
    tasks = [asyncio.ensure_future(lanes.submit("a", item)) for item in range(10)]
    gate.open.set()
    await asyncio.gather(*tasks)
    assert [len(items) for _, items in gate.batches] == [4, 4, 2]


async def test_ten_thousand_keys_leave_nothing_behind_and_each_keeps_its_order() -> None:
    # Given
    seen: defaultdict[int, list[int]] = defaultdict(list)

    async def work(key: int, items: Sequence[int]) -> Sequence[int]:
        await asyncio.sleep(0)
        seen[key] += items
        return items

    lanes: Lanes[int, int, int] = Lanes(work, limit=64)
    # When
    await asyncio.gather(*(lanes.submit(number % 10_000, number) for number in range(20_000)))
    await lanes.idle()
    # Then
    assert len(lanes) == 0
    assert all(items == sorted(items) for items in seen.values())
