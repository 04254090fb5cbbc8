"""What all operations share: an answer or an error, the read that must succeed, and the shapes that answers take.

Answers are taken in every form that is not excluded by Ditio's documentation: a single object or an array of one; 404, null, nothing
or an empty array for no match; 200 with the task or 204 without a body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from worker.api.flight import SingleFlight
from worker.api.http import Answer, Http, Starting, Unauthorized
from worker.api.segment import path, safe_in_path
from worker.core.errors import ApiError, Missing, Outage, Refused, UnknownOutcome
from worker.ports import Clock, OperationName, Task

BELIEVED_S = 5.0
"""How long the control read's success is believed."""


class Asking:
    """A client's requests on behalf of a company."""

    def __init__(self, http: Http, company_id: str, clock: Clock) -> None:
        self._http = http
        self._company_id = company_id
        self._clock = clock
        self._believed_until = float("-inf")
        self._controlled = SingleFlight(self._control)

    @property
    def in_flight(self) -> int:
        """How many requests are in flight now."""
        return self._http.in_flight

    @property
    def concurrency_limit(self) -> int:
        """How many requests may be in flight at once now: what Ditio bears."""
        return self._http.concurrency_limit

    def pace(self, per_s: float) -> None:
        """No more requests than this start per second from now on, tokens aside."""
        self._http.pace(per_s)

    async def control(self) -> None:
        """The read that must succeed: all projects, as an array. Those who ask at once share one request. Raises Outage."""
        await self._controlled()

    async def _control(self) -> None:
        try:
            answer = await self._http.request("control", "GET", "projects")
        except Unauthorized as error:
            raise Outage("credentials", f"Ditio refuses the worker's client: {error.detail}") from error
        except ApiError as error:
            raise Outage("circuit", f"Ditio does not answer the read that must succeed: {error.detail}") from error
        if not isinstance(decoded(answer.body), list):
            raise Outage("circuit", "Ditio does not answer the read that must succeed: what came is no list of projects")
        self._believed_until = self._clock.monotonic() + BELIEVED_S

    async def _believe(self) -> None:
        """Returns if a 404 can be believed. Raises Outage."""
        if self._clock.monotonic() >= self._believed_until:
            await self.control()

    async def _find(self, operation: OperationName, *segments: str, named: str = "id") -> Sequence[Task]:
        """All matches of a look-up. That there are none is believed only while the control read succeeds.

        Of what no path can hold there are none, without asking: without its last segment the path would ask for something else.
        """
        if not all(map(safe_in_path, segments)):
            return ()
        try:
            found = objects(given(operation, await self._answer(operation, "GET", path(*segments))), named)
        except Missing:
            found = ()
        if not found:
            await self._believe()
        return found

    async def _answer(
        self,
        operation: OperationName,
        method: str,
        where: str,
        body: Mapping[str, object] | None = None,
        *,
        repeatable: bool = True,
        starting: Starting | None = None,
    ) -> Answer:
        """A request's answer. 401 and 403 are its own fault if the control read is let through. Raises ApiError, Outage."""
        try:
            return await self._http.request(operation, method, where, body, repeatable=repeatable, starting=starting)
        except Unauthorized as error:
            await self.control()
            raise Refused(
                error.detail, status=error.status, response=error.response, attempts=error.attempts, lingering=error.lingering
            ) from error


def given(operation: OperationName, answer: Answer) -> object:
    """What was answered; nothing, null and an empty body are None. Raises UnknownOutcome for what Ditio never says."""
    value = decoded(answer.body)
    if not isinstance(value, dict | list) and answer.body.strip() not in (b"", b"null"):
        raise UnknownOutcome(f"{operation}: the answer is not JSON of an object or array", attempts=answer.attempts)
    return value


def decoded(body: bytes) -> object:
    """JSON, or None for what is none."""
    try:
        return msgspec.json.decode(body) if body.strip() else None
    except (msgspec.MsgspecError, RecursionError):
        return None


def objects(answer: object, named: str = "id") -> Sequence[Task]:
    """The objects of an answer that have what names them, whatever its shape."""
    listed = answer if isinstance(answer, list) else [answer]
    return [each for each in listed if isinstance(each, dict) and each.get(named)]
