"""One request over the wire, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping

from worker.api.access import Observer
from worker.api.response import http_date
from worker.api.wire import Received, Wire
from worker.core.errors import NotSent, UnknownOutcome
from worker.ports import Clock, OperationName


class Exchange:
    """Requests of one time limit (seconds), each observed."""

    def __init__(self, wire: Wire, within_s: float, clock: Clock, observer: Observer) -> None:
        self._wire = wire
        self._within_s = within_s
        self._clock = clock
        self._observer = observer

    async def make(
        self, operation: OperationName, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> Received:
        """The answer, whatever its status. Raises NotSent, UnknownOutcome, which name the operation."""
        began, status = self._clock.monotonic(), None
        try:
            received = await self._wire.send(method, url, headers, content, self._within_s)
            status = received.status
        except (NotSent, UnknownOutcome) as error:
            raise type(error)(f"{operation}: {error.detail}") from error
        finally:
            self._observer.request(operation, status, self._clock.monotonic() - began)
        if (date := http_date(received.headers.get("date"))) is not None:
            self._observer.clock_ahead(date - self._clock.now())
        return received
