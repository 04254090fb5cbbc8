"""One request over the wire, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping

from worker.api.access import Observer
from worker.api.patience import Patience
from worker.api.response import http_date
from worker.api.wire import Received, Wire
from worker.core.errors import NotSent, UnknownOutcome
from worker.ports import Clock, OperationName


class Exchange:
    """Requests of one time limit (seconds), each observed. `in_flight` is how many there are now."""

    def __init__(self, wire: Wire, within_s: float, clock: Clock, observer: Observer, patience: Patience) -> None:
        self._wire = wire
        self._within_s = within_s
        self._clock = clock
        self._observer = observer
        self._patience = patience
        self.in_flight = 0

    def may_begin(self) -> None:
        """Raises Abandoned when the worker stops before a request that begins now must be over."""
        self._patience.begin(self._within_s)

    async def make(
        self, operation: OperationName, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> Received:
        """The answer, whatever its status. Raises NotSent, UnknownOutcome, which name the operation; Abandoned."""
        self.may_begin()
        began, status = self._clock.monotonic(), None
        self.in_flight += 1
        try:
            received = await self._wire.send(method, url, headers, content, self._within_s)
            status = received.status
        except (NotSent, UnknownOutcome) as error:
            raise type(error)(f"{operation}: {error.detail}") from error
        finally:
            self.in_flight -= 1
            self._observer.request(operation, status, self._clock.monotonic() - began)
        if (date := http_date(received.headers.get("date"))) is not None:
            self._observer.clock_ahead(date - self._clock.now())
        return received
