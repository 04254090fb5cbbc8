"""What a simulated worker has around it: broker, wire, ledger. Every effect is a step at which the process may be killed.

Once its process is dead nothing reaches the world any more: whatever still runs waits for ever.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.simulation.broker import Broker, Channel, Stored
from tests.simulation.process import SimulatedProcess
from worker.api.wire import Received, TimedOut
from worker.core.errors import BrokerError, LedgerError, NotSent, UnknownOutcome
from worker.core.message import Message
from worker.ledger.memory import Contents, MemoryLedger
from worker.ports import Happened, Key, WorkOrder
from worker.sandbox import Request, Sandbox

NEVER_S = 10.0**9


class SimulatedClock:
    """The loop's time; `epoch` is what it was in seconds since 1970 when it began."""

    def __init__(self, loop: asyncio.AbstractEventLoop, epoch: float, chance: random.Random) -> None:
        self._loop = loop
        self._epoch = epoch
        self._chance = chance

    def now(self) -> float:
        return self._epoch + self._loop.time()

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def chance(self) -> float:
        return self._chance.random()


class Steps:
    """Counts the effects of one process, and kills it at the chosen one."""

    def __init__(self, process: SimulatedProcess, kill: Callable[[], None]) -> None:
        self._process = process
        self._kill = kill
        self.left: int | None = None

    async def pass_by(self) -> None:
        """One more; returns only to the living."""
        self.count()
        if not self._process.alive:
            await asyncio.sleep(NEVER_S)

    def count(self) -> bool:
        """One more; whether the process lives on."""
        if self.left is not None and self._process.alive:
            self.left -= 1
            if self.left <= 0:
                self.left = None
                self._kill()
        return self._process.alive


class SimulatedDelivery:
    """See worker.ports.Delivery."""

    def __init__(self, stored: Stored, message: Message, received_at: int, channel: Channel, steps: Steps) -> None:
        self.message = message
        self.received_at = received_at
        self._stored = stored
        self._channel = channel
        self._steps = steps

    def ack(self) -> None:
        if not self._steps.count():
            return
        try:
            self._channel.ack(self._stored)
        except BrokerError:
            return  # late: the broker has it again
        self._steps.count()


class SimulatedPublisher:
    """See worker.ports.Publisher. A connection that breaks leaves open whether the message arrived."""

    def __init__(self, broker: Broker, steps: Steps, chance: random.Random, delay: Callable[[], float]) -> None:
        self._broker = broker
        self._steps = steps
        self._chance = chance
        self._delay = delay
        self._breaks = 0

    def break_off(self) -> None:
        """The connection breaks under whatever is under way."""
        self._breaks += 1

    async def publish(self, queue: str, message: Message) -> None:
        await self._steps.pass_by()
        breaks = self._breaks
        await asyncio.sleep(self._delay())
        if self._breaks != breaks and self._chance.random() < 0.5:
            raise BrokerError("the connection broke before the message arrived")
        await self._steps.pass_by()
        self._broker.publish(queue, message)
        await self._steps.pass_by()
        await asyncio.sleep(self._delay())
        if self._breaks != breaks:
            raise BrokerError("the connection broke before the confirm arrived")


class SimulatedWire:
    """See worker.api.wire.Wire: the sandbox without a network, each way of which takes a while."""

    def __init__(self, sandbox: Sandbox, steps: Steps, delay: Callable[[], float]) -> None:
        self._sandbox = sandbox
        self._steps = steps
        self._delay = delay
        self.last_request = 0.0

    async def send(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None, within_s: float) -> Received:
        began = asyncio.get_running_loop().time()
        await self._steps.pass_by()
        await asyncio.sleep(self._delay())
        self.last_request = asyncio.get_running_loop().time()
        path = "/" + url.split("://", 1)[1].split("/", 1)[1]
        request = Request(method, path, {name.lower(): value for name, value in headers.items()}, content or b"")
        reply = self._sandbox.handle(request)
        for late in self._sandbox.late:  # which takes effect then, whether or not another request comes
            asyncio.get_running_loop().call_later(late.due - self._sandbox.clock() + 1e-6, self._sandbox.settle_late)
        await self._steps.pass_by()
        rest = within_s - (asyncio.get_running_loop().time() - began)
        if reply.delay_s >= rest:
            await asyncio.sleep(max(0.0, rest))
            raise TimedOut(f"no answer within {within_s:g} s")
        await asyncio.sleep(reply.delay_s + self._delay())
        if reply.drop:
            raise UnknownOutcome("the connection broke")
        await self._steps.pass_by()
        return Received(reply.status, {name.lower(): value for name, value in reply.headers.items()}, reply.body)


class SimulatedLedger(MemoryLedger):
    """A ledger that takes a moment, and may fail to commit: then nothing of it is kept."""

    def __init__(self, contents: Contents, steps: Steps, **named: Any) -> None:
        super().__init__(contents, **named)
        self._steps = steps
        self.failing = 0

    async def first_seen(self, source: str, event_id: str, at: int) -> int:
        await self._write()
        return await super().first_seen(source, event_id, at)

    async def load(self, key: Key) -> WorkOrder:
        await self._steps.pass_by()
        return await super().load(key)

    async def commit(self, order: WorkOrder, happened: Sequence[Happened] = (), *, paid: bool = False) -> None:
        await self._write()
        await super().commit(order, happened, paid=paid)
        await self._steps.pass_by()

    async def _write(self) -> None:
        await self._steps.pass_by()
        await asyncio.sleep(0.001)
        await self._steps.pass_by()
        if self.failing:
            self.failing -= 1
            raise LedgerError("the disk is full")


__all__ = ["NotSent", "SimulatedClock", "SimulatedDelivery", "SimulatedLedger", "SimulatedPublisher", "SimulatedWire", "Steps"]
