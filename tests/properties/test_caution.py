"""Whatever ends workers, and however many there are: only what ends them by itself is condemned."""

from __future__ import annotations

import asyncio
import random
from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from tests.ledger.conftest import StoppedClock
from worker.caution import Caution
from worker.core.caution import Step
from worker.core.errors import Outage
from worker.core.message import Message
from worker.ledger.memory import Contents, MemoryLedger

MOST_TURNS = 600


async def _run(poisons: list[bool], workers: int, chance: random.Random) -> tuple[set[int], set[int], int]:
    """Workers take messages in turn from one queue; returns who was settled, who was condemned, and how many pauses there were.

    A worker ends at each poison, and now and then while it waits for somebody else.
    """
    ledger = MemoryLedger(Contents(), api_base="a", company_id="c", clock=StoppedClock())
    queue = deque(Message(b"%d" % place) for place in range(len(poisons)))
    cautions = [Caution(ledger, stopping=lambda: False) for _ in range(workers)]
    settled: set[int] = set()
    condemned: set[int] = set()
    pauses = 0
    for turn in range(MOST_TURNS):
        if not queue:
            break
        message, at = queue.popleft(), turn % workers
        place, again = int(message.body), Message(message.body, redelivered=True)
        try:
            async with cautions[at].turn(message) as alone, cautions[at].noted(message, alone=alone) as step:
                if step is Step.HANDLE:
                    if chance.random() < 0.1:
                        async with cautions[at].waiting():
                            raise asyncio.CancelledError
                    if poisons[place]:
                        raise SystemExit
            {Step.HANDLE: settled, Step.CONDEMN: condemned}.get(step, set()).add(place)
            if step is Step.DEFER:
                queue.append(Message(message.body))
        except (SystemExit, asyncio.CancelledError):
            queue.appendleft(again)
            cautions[at] = Caution(ledger, stopping=lambda: False)
            await cautions[at].start()
        except Outage:
            pauses += 1
            queue.appendleft(again)
            queue.rotate(-1)
    return settled, condemned, pauses


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(1, 3), st.integers(0, 9_999))
def test_what_ends_no_worker_is_never_condemned(poisons: list[bool], workers: int, seed: int) -> None:
    settled, condemned, _ = asyncio.run(_run(poisons, workers, random.Random(seed)))
    assert all(poisons[place] for place in condemned)
    assert settled == {place for place, poison in enumerate(poisons) if not poison}


@given(st.integers(0, 7), st.integers(8, 12), st.integers(1, 3), st.integers(0, 9_999))
def test_one_that_ends_workers_among_others_is_condemned_and_nothing_pauses(at: int, of: int, workers: int, seed: int) -> None:
    settled, condemned, pauses = asyncio.run(_run([place == at for place in range(of)], workers, random.Random(seed)))
    assert (condemned, pauses) == ({at}, 0)
    assert len(settled) == of - 1


@given(st.integers(3, 8), st.integers(1, 3), st.integers(0, 9_999))
def test_where_every_message_ends_workers_one_is_condemned_at_most(of: int, workers: int, seed: int) -> None:
    settled, condemned, pauses = asyncio.run(_run([True] * of, workers, random.Random(seed)))
    assert settled == set()
    assert len(condemned) <= 1
    assert pauses > 0
