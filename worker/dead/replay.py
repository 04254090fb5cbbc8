"""Replays: a frozen selection goes out canary first, then up to a rate, and each letter is followed to its end.

    canary ─► its end ─► the rest, chunk by chunk, paced ─► their ends ─► summary
                 └─► anything but a good one: stop

Everything stops, between two batches, when more come back than are allowed, when it is told to, and when broker or ledger fail. Wherever
it ends, each letter is either where it was or on its way; see replay_left for what is between the two.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from worker.core.errors import BadEvent, BrokerError, LedgerError
from worker.core.replay_order import Chosen, allowed
from worker.dead.desk import Desk
from worker.dead.replay_following import Back, End, Following
from worker.dead.replay_left import FINAL
from worker.dead.replay_sending import Held, Sender, held, together

HOLD_S = 45.0
"""Seconds for which the letters are held; then they are given back and taken anew."""

MOST_AT_ONCE = 500
"""Letters in one batch of confirms and removals."""

MOST_IN_CHUNK = 20_000
"""Letters that are wanted of one taking."""

POLL_S = 0.2


class Terms(msgspec.Struct, frozen=True):
    """How to replay. `rate` in letters a second (0: no limit); it stops when more than `max_failures` come back. `patience_s` is how long
    outcomes are waited for after the last letter went out (and the canary's); without `follow` they are not."""

    rate: float = 10.0
    canary: int = 1
    max_failures: int = 10
    patience_s: float = 120.0
    follow: bool = True


class Progress(msgspec.Struct, frozen=True):
    """How far a replay has come: letters sent, of how many, and what became of them."""

    sent: int
    total: int
    counts: dict[End, int]


class Result(msgspec.Struct, frozen=True):
    """How a replay ended. `stopped` says why before its end (empty: it was not); `gone` letters were no longer there."""

    sent: int
    counts: dict[End, int]
    back: Sequence[Back]
    gone: Sequence[str] = ()
    stopped: str = ""
    interrupted: bool = False


class Pace:
    """How many letters are due by now, since it was made, at a rate."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._started = time.monotonic()
        self.sent = 0

    def due(self) -> float:
        """How many may go out now."""
        return allowed(self._rate, time.monotonic() - self._started) - self.sent


class Stopped(Exception):
    """The replay ends before all were sent. The message says why."""


class Replay:
    """One replay of chosen letters. `stop` is set by whoever wants it to end; `tell` is called often."""

    def __init__(
        self,
        desk: Desk,
        sender: Sender,
        following: Following,
        terms: Terms,
        *,
        stop: asyncio.Event,
        tell: Callable[[Progress], None],
    ) -> None:
        self._desk = desk
        self._sender = sender
        self._following = following
        self._terms = terms
        self._stop = stop
        self._tell = tell
        self._sent = 0
        self._total = 0
        self._gone: list[str] = []
        self._looked_at = 0.0

    async def run(self, chosen: Sequence[Chosen]) -> Result:
        """Replays the letters in the order given. Raises nothing of broker or ledger: the result says what stopped it."""
        self._total = len(chosen)
        canary = self._terms.canary if self._terms.follow else 0
        stopped = ""
        try:
            await self._following.begin()
            await self._canary(chosen[:canary])
            await self._all(chosen[canary:])
            await self._ends(self._following.open)
        except (Stopped, BrokerError, LedgerError, BadEvent) as error:
            stopped = str(error)
        self._told()
        back = list(self._following.back.values())
        return Result(self._sent, self._following.counts, back, self._gone, stopped, self._stop.is_set())

    async def _canary(self, letters: Sequence[Chosen]) -> None:
        if not letters:
            return
        await self._all(letters)
        await self._ends(len(letters))
        for each in letters:
            end = self._following.of(each.id)
            if end == "dead":
                back = self._following.back.get(each.id)
                raise Stopped(f"the canary came back: {f'{back.reason}: {back.detail}' if back else 'its history says why'}")
            if end not in FINAL and each.id not in self._gone:
                raise Stopped(f"the canary has no outcome after {self._terms.patience_s:g} s ({end}): is a worker running?")

    async def _all(self, letters: Sequence[Chosen]) -> None:
        """Sends letters, at the rate."""
        left, pace = deque(letters), Pace(self._terms.rate)
        while left:
            wanted = together(left, self._chunk())
            async with held(self._desk, wanted, self._following) as hand:
                gone = {each.id for each in wanted if each.id not in hand.messages}
                self._gone += gone
                done = gone | await self._some([each for each in wanted if each.id in hand.messages], hand, pace)
            left = deque(each for each in left if each.id not in done)

    async def _some(self, letters: Sequence[Chosen], hand: Held, pace: Pace) -> set[str]:
        """Sends letters in hand until all are sent or they were held long enough; returns the ids of those that were sent."""
        deadline, most, done = time.monotonic() + HOLD_S, 1, 0
        while done < len(letters) and time.monotonic() < deadline:
            if (due := pace.due()) < 1:
                await self._pause()
                continue
            batch = letters[done : done + int(min(due, most))]
            await self._batch(batch, hand)
            pace.sent += len(batch)
            done += len(batch)
            most = min(2 * most, MOST_AT_ONCE)
        return {each.id for each in letters[:done]}

    async def _batch(self, batch: Sequence[Chosen], hand: Held) -> None:
        await self._sender.send(batch, hand, self._following)
        self._sent += len(batch)
        await self._watch()

    def _chunk(self) -> int:
        """How many letters can be sent while they are held."""
        if self._terms.rate == 0:
            return MOST_IN_CHUNK
        return min(int(self._terms.rate * HOLD_S) + 1, MOST_IN_CHUNK)

    async def _ends(self, wanted: int) -> None:
        """Waits until all that was sent has its end, or patience is over."""
        if not self._terms.follow or not wanted:
            return
        deadline = time.monotonic() + self._terms.patience_s
        while self._following.open and time.monotonic() < deadline:
            async with held(self._desk, (), self._following):
                again = min(time.monotonic() + HOLD_S / 3, deadline)
                while self._following.open and time.monotonic() < again:
                    await self._pause()

    async def _pause(self) -> None:
        """A moment, unless there is something to do at once."""
        await self._watch()
        try:
            async with asyncio.timeout(POLL_S):
                await self._stop.wait()
        except TimeoutError:
            return

    async def _watch(self) -> None:
        """Looks at what became of the letters, tells, and raises Stopped when that is enough."""
        if time.monotonic() - self._looked_at >= POLL_S:
            if self._terms.follow:
                await self._following.look()
            self._looked_at = time.monotonic()
            self._told()
        if self._stop.is_set():
            raise Stopped("interrupted")
        if self._following.failures > self._terms.max_failures:
            raise Stopped(
                f"{self._following.failures} letters came back, and {self._terms.max_failures} are allowed (--max-failures)"
            )

    def _told(self) -> None:
        self._tell(Progress(self._sent, self._total, self._following.counts))
