"""The gauges of the dead letters: true for letters of before a restart, cheap, and patient where an operator is at the queue."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import pytest

from worker.core.errors import BrokerError, LedgerError
from worker.ledger import Indexed
from worker.ledger.memory import Contents, MemoryLedger
from worker.letters import RECOUNT_S, Letters


class Rig:
    """An index in memory, a queue that says what it is told to, and a clock that stands."""

    def __init__(self) -> None:
        self.at = 1_000.0
        self.queue: list[Indexed] = []
        self.held = False
        self.reads = 0
        self.index = MemoryLedger(Contents(), api_base="a", company_id="c", clock=StandingClock())
        self.letters = Letters(self.index)

    async def depth(self) -> int:
        """What is ready: nothing, while an operator holds the letters."""
        return 0 if self.held else len(self.queue)

    async def read(self) -> Sequence[Indexed]:
        """All letters."""
        self.reads += 1
        if self.held:
            raise BrokerError("held by ole")
        return list(self.queue)

    async def keep(self) -> dict[str, tuple[int, float]]:
        """One round, and what the gauges then show."""
        with suppress(BrokerError):
            await self.letters.keep(self.depth, self.read, lambda: self.at)
        return {reason: (count, age) for reason, count, age in self.letters.shown(self.at) if count}

    def bury(self, number: int, *, told: bool = True) -> None:
        """Puts a letter into the queue; `told`: this worker wrote it."""
        letter = Indexed(f"l-{number}", "rejected", number * 1_000_000)
        self.queue.append(letter)
        if told:
            self.letters.wrote(letter.id, "rejected", letter.at)


class StandingClock:
    """A clock that stands."""

    def now(self) -> float:
        return 1_000.0

    def monotonic(self) -> float:
        return 1_000.0

    async def sleep(self, seconds: float) -> None: ...

    def chance(self) -> float:
        return 0.5


async def test_letters_of_before_are_counted_at_start_and_own_ones_as_they_are_written() -> None:
    # Given letters that another process wrote
    rig = Rig()
    rig.bury(400, told=False)
    rig.bury(700, told=False)
    # When, Then
    assert await rig.keep() == {"rejected": (2, 600.0)}
    rig.bury(900)
    assert await rig.keep() == {"rejected": (3, 600.0)}
    assert rig.reads == 1, "what this worker writes needs no look at the queue"


async def test_a_worker_that_begins_with_an_empty_queue_never_needs_to_look_for_its_own_letters() -> None:
    rig = Rig()
    assert await rig.keep() == {}
    rig.bury(400)
    assert await rig.keep() == {"rejected": (1, 600.0)}
    assert rig.reads == 0


async def test_a_difference_is_counted_anew_but_not_all_the_time() -> None:
    # Given
    rig = Rig()
    rig.bury(400)
    await rig.keep()
    assert rig.reads == 1
    # When an operator takes the letter out without telling
    rig.queue.clear()
    assert await rig.keep() == {"rejected": (1, 600.0)}
    assert rig.reads == 1
    rig.at += RECOUNT_S + 1
    # Then
    assert await rig.keep() == {}
    assert rig.reads == 2


async def test_while_an_operator_holds_the_letters_the_gauges_stay() -> None:
    # Given
    rig = Rig()
    rig.bury(400)
    await rig.keep()
    # When
    rig.held, rig.at = True, rig.at + RECOUNT_S + 1
    # Then
    assert [count for count, _ in (await rig.keep()).values()] == [1]
    # And a letter that was removed with the index told needs no look
    rig.held, rig.at = False, rig.at + RECOUNT_S + 1
    rig.queue.clear()
    await rig.index.letters_removed(["l-400"])
    reads = rig.reads
    assert await rig.keep() == {}
    assert rig.reads == reads


async def test_letters_that_the_ledger_could_not_note_are_noted_later() -> None:
    # Given an index that is believed
    rig = Rig()
    rig.bury(300, told=False)
    await rig.keep()
    rig.bury(400)
    await rig.index.close()
    with pytest.raises(LedgerError):
        await rig.letters.keep(rig.depth, rig.read, lambda: rig.at)
    # When
    rig.letters._index = MemoryLedger(Contents(), api_base="a", company_id="c", clock=StandingClock())
    # Then
    assert await rig.keep() == {"rejected": (1, 600.0)}


async def test_what_no_worker_wrote_is_counted_but_shown_under_no_reason() -> None:
    rig = Rig()
    rig.queue.append(Indexed("f", "unknown", 5))
    assert await rig.keep() == {}
    rig.at += RECOUNT_S + 1
    await rig.keep()
    assert rig.reads == 1, "the counts do not differ"
