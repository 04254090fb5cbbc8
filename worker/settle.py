"""What an outcome does to the broker and to the index of what waits: durable first, acknowledged last.

    applied unchanged superseded ignored ─────────────────────────────┐
    waiting ─► (no more steps? dead) ─► wait queue, confirmed ────────┼─► observer ─► ack
    dead ─────────────────────────────► dead letters, confirmed ──────┘

Whatever goes wrong before the acknowledgement leaves the message with the broker, which delivers it again.
"""

from __future__ import annotations

from typing import Protocol, assert_never
from uuid import uuid4

import msgspec

from worker.caution import Caution
from worker.core.letter import Facts, letter, waiting
from worker.core.message import Message
from worker.core.outcome import Applied, Dead, Ignored, Outcome, Superseded, Unchanged, Waiting
from worker.handling import Handling, Taken
from worker.ports import Clock, Publisher
from worker.reconcile import Conclusion

FAILING_ROUNDS = 8
"""After so many rounds an event that the API fails on, and on nothing else, is a dead letter."""


class Settling(Protocol):
    """Is told of each message immediately before it is acknowledged."""

    async def settling(self, taken: Taken, conclusion: Conclusion, step: int) -> None:
        """All that must be kept is kept, and the message is about to be acknowledged; `step` (seconds) is how long it waits, if so."""
        ...


class Settlement:
    """Settles what was decided. `caution` is told of the time that a publication takes."""

    def __init__(self, handling: Handling, *, publisher: Publisher, clock: Clock, observer: Settling, caution: Caution) -> None:
        self._handling = handling
        self._publisher = publisher
        self._clock = clock
        self._observer = observer
        self._caution = caution

    async def settle(self, taken: Taken, conclusion: Conclusion) -> Conclusion:
        """Publishes what must be kept, then acknowledges. Raises BrokerError or LedgerError, before which nothing was acknowledged."""
        message, queues = taken.delivery.message, self._handling.queues
        outcome, step = self._final(taken, conclusion.outcome)
        match outcome:
            case Applied() | Unchanged() | Superseded() | Ignored():
                pass
            case Waiting():
                patient = step if outcome.patient else 0
                facts = self._facts(
                    taken,
                    conclusion,
                    waited_s=taken.travel.waited_s + patient,
                    failing=outcome.kind == "failing" and outcome.counted,
                )
                await self._publish(queues.waits[step], waiting(message, outcome.failure, facts, refused=outcome.refused))
            case Dead():
                facts = self._facts(taken, conclusion, waited_s=taken.travel.waited_s)
                await self._publish(queues.dead, letter(message, outcome.failure, facts))
                taken.letter_id = facts.letter_id
            case _:
                assert_never(outcome)
        concluded = msgspec.structs.replace(conclusion, outcome=outcome)
        await self._observer.settling(taken, concluded, step)
        taken.delivery.ack()
        return concluded

    async def _publish(self, queue: str, message: Message) -> None:
        async with self._caution.waiting():
            await self._publisher.publish(queue, message)

    def _final(self, taken: Taken, outcome: Outcome) -> tuple[Outcome, int]:
        """The outcome with the wait step, where waiting has not come to its end."""
        if not isinstance(outcome, Waiting):
            return outcome, 0
        if not outcome.patient:
            return outcome, min(self._handling.queues.waits)
        step = self._handling.next_wait(taken.travel.waited_s)
        exhausted = outcome.kind == "failing" and taken.travel.failing_rounds + 1 >= FAILING_ROUNDS
        return (Dead(outcome.failure), 0) if step is None or exhausted else (outcome, step)

    def _facts(self, taken: Taken, conclusion: Conclusion, *, waited_s: int, failing: bool = False) -> Facts:
        return Facts(
            identity=taken.identity,
            first_seen=taken.first_seen,
            now=int(self._clock.now() * 1_000_000),
            attempts=taken.travel.attempts + conclusion.attempts,
            waited_s=waited_s,
            failing_rounds=taken.travel.failing_rounds + failing,
            version=self._handling.version,
            letter_id=uuid4().hex,
        )
