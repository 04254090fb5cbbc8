"""Turns: in order of arrival, some alone, all others together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from worker.turns import Turns


class Room:
    """Who is inside, and who was in which order; each stays until it is let go."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.inside: list[str] = []
        self.doors: dict[str, asyncio.Event] = {}

    def enter(self, name: str, alone: Callable[[], bool]) -> asyncio.Task[None]:
        self.doors[name] = asyncio.Event()

        async def stay() -> None:
            async with self.turns.turn(alone):
                self.inside.append(name)
                await self.doors[name].wait()
                self.inside.remove(name)

        return asyncio.ensure_future(stay())

    async def leave(self, *names: str) -> None:
        for name in names:
            self.doors[name].set()
        await spin()


async def spin() -> None:
    """Lets everything that can run do so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_one_that_must_be_alone_waits_for_those_before_it_and_those_after_it_wait_for_it() -> None:
    # Given
    room = Room()
    for name, alone in (("a", False), ("b", False), ("C", True), ("d", False), ("E", True)):
        room.enter(name, lambda alone=alone: alone)  # type: ignore[misc]  # a default has no type
    await spin()
    # Then
    assert room.inside == ["a", "b"]
    await room.leave("a")
    assert room.inside == ["b"]
    await room.leave("b")
    assert room.inside == ["C"]
    await room.leave("C")
    assert room.inside == ["d"]
    await room.leave("d")
    assert room.inside == ["E"]
    await room.leave("E")
    assert room.inside == []


async def test_whether_one_must_be_alone_is_asked_when_it_is_next_in_turn() -> None:
    # Given
    room, suspicious = Room(), [True]
    for name in "abc":
        room.enter(name, lambda: suspicious[0])
    await spin()
    assert room.inside == ["a"]
    # When
    suspicious[0] = False
    await room.leave("a")
    # Then
    assert room.inside == ["b", "c"]


async def test_who_gives_up_waiting_holds_up_nobody() -> None:
    # Given
    room = Room()
    room.enter("a", lambda: False)
    waiting = room.enter("B", lambda: True)
    room.enter("c", lambda: False)
    await spin()
    assert room.inside == ["a"]
    # When
    waiting.cancel()
    await spin()
    # Then
    assert room.inside == ["a", "c"]
    await room.leave("a", "c")
    room.enter("D", lambda: True)
    await spin()
    assert room.inside == ["D"]


async def test_an_error_inside_ends_the_turn() -> None:
    room = Room()
    task = room.enter("A", lambda: True)
    room.enter("b", lambda: False)
    await spin()
    task.cancel()
    await spin()
    assert room.inside == ["A", "b"], "A never removed itself"
    await room.leave("b")
    room.enter("C", lambda: True)
    await spin()
    assert "C" in room.inside
