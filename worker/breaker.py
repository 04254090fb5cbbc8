"""Ditio behind a circuit breaker: counts refused writes, lets none through while the circuit is open, and says when it opens.

send ──► open? Outage      refused ──► spared, if others are refused too; a full row opens      success ──► row forgotten
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from worker.core.circuit import FORBIDDEN, SHOWN, Refusals, Shown, Sign, State, step
from worker.core.errors import ApiError, Missing, NotSent, Outage, PauseCause, Refused, UnknownOutcome
from worker.core.plan import Call, Create
from worker.ports import Clock, Ditio, Project, Reply, Task

Answer = TypeVar("Answer")

COUNTED = frozenset({401, FORBIDDEN})
"""Definite refusals that may be Ditio's, or a gateway's, own trouble; so may a 404, a 408, a 5xx and no answer at all."""

MOST_MISSED = 1_000


class Breaker:
    """See worker.ports.Ditio for the methods. `on_change` is told of each new state, `trouble` of each time that the circuit opens.

    An error that is not to be held against its event is `spared`. What was sent is never turned into an Outage: what a
    refusal says of the request's fate stands.
    """

    def __init__(
        self, ditio: Ditio, clock: Clock, *, on_change: Callable[[Shown], None], trouble: Callable[[Exception], None]
    ) -> None:
        self._ditio = ditio
        self._clock = clock
        self._on_change = on_change
        self._trouble = trouble
        self._state: State = "closed"
        self._refusals = Refusals()
        self._outage = Outage("circuit", "")
        self._missed: OrderedDict[str, None] = OrderedDict()

    @property
    def half_open(self) -> bool:
        """Whether one event at a time is let through, to see."""
        return self._state == "half-open"

    async def probe(self) -> None:
        """Returns when the control read succeeds. Raises Outage."""
        await self.control()
        if self._state == "unanswered":
            self._refusals = self._refusals.answered(self._clock.monotonic())
        self._hear("control read succeeds")

    # --- writing

    async def send(self, call: Call, project: Project, *, starting: Callable[[], Awaitable[None]] | None = None) -> Reply:
        """Carries out a planned call. Raises Outage without sending it while the circuit is open."""
        if SHOWN[self._state] == "open":
            raise Outage(self._outage.cause, self._outage.detail)
        work_order, began = _work_order(call, project), self._clock.monotonic()
        try:
            reply = await self._heard(self._ditio.send(call, project, starting=starting))
        except ApiError as error:
            if self._counts(work_order, error):
                self._refused(work_order, error)
            raise
        self._missed.pop(work_order, None)
        self._refusals = self._refusals.succeeded(began)
        if not self._refusals.suspects:
            self._hear("write succeeds")
        return reply

    def _counts(self, work_order: str, error: ApiError) -> bool:
        """Whether a refusal may be no event's fault. A 404 is answered by looking everything up afresh; it counts when it stands."""
        if not isinstance(error, Missing):
            self._missed.pop(work_order, None)
            return isinstance(error, NotSent | UnknownOutcome) or error.status in COUNTED
        again = work_order in self._missed
        self._missed[work_order] = None
        self._missed.move_to_end(work_order)
        if len(self._missed) > MOST_MISSED:
            self._missed.popitem(last=False)
        return again

    def _refused(self, work_order: str, error: ApiError) -> None:
        now, final = self._clock.monotonic(), isinstance(error, Missing | Refused)
        error.spared = self._state != "closed" or self._refusals.spares(work_order, final=final, now=now)
        if SHOWN[self._state] == "open":
            return  # it began before
        self._refusals = self._refusals.refused(work_order, error.status, now)
        if self._state == "half-open":
            self._hear("write is refused")
            cause: PauseCause = "credentials" if error.status == FORBIDDEN else "circuit"
            self._opened(Outage(cause, f"Ditio is read but refuses writes, one after the other: {error.detail}"))
        elif self._refusals.full:
            error.spared = True
            count = len(self._refusals.row)
            self._hear("row is full")
            sentence = f"Ditio is read but has refused writes of {count} different work orders in a row: {error.detail}"
            self._opened(Outage(self._refusals.cause, sentence))

    def _opened(self, outage: Outage) -> None:
        self._outage = outage
        self._trouble(outage)

    # --- reading

    async def control(self) -> None:
        """The read that must succeed."""
        await self._heard(self._ditio.control())

    async def projects_by_number(self, number: str) -> Sequence[Project]:
        """See the port."""
        return await self._heard(self._ditio.projects_by_number(number))

    async def project_by_id(self, project_id: str) -> Project | None:
        """See the port."""
        return await self._heard(self._ditio.project_by_id(project_id))

    async def projects(self) -> Sequence[Project]:
        """See the port."""
        return await self._heard(self._ditio.projects())

    async def task_by_id(self, task_id: str) -> Task | None:
        """See the port."""
        return await self._heard(self._ditio.task_by_id(task_id))

    async def tasks_by_number(self, project_number: str, external_id: str) -> Sequence[Task]:
        """See the port."""
        return await self._heard(self._ditio.tasks_by_number(project_number, external_id))

    async def tasks_of_project(self, project_id: str) -> Sequence[Task]:
        """See the port."""
        return await self._heard(self._ditio.tasks_of_project(project_id))

    async def person_by_number(self, employee_number: str) -> Mapping[str, object] | None:
        """See the port."""
        return await self._heard(self._ditio.person_by_number(employee_number))

    # --- the circuit

    async def _heard(self, answer: Awaitable[Answer]) -> Answer:
        try:
            return await answer
        except Outage as error:
            if error.cause == "circuit":
                self._outage = error
                self._hear("no answer")
            raise

    def _hear(self, sign: Sign) -> None:
        before, self._state = self._state, step(self._state, sign)
        if self._state != before:
            self._on_change(SHOWN[self._state])


def _work_order(call: Call, project: Project) -> str:
    return f"{project.id}/{call.external_id}" if isinstance(call, Create) else call.task_id
