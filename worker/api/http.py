"""One request to Ditio: with a token, within its time, again where that helps, and errors translated at the border.

2xx ─► answer      429 ─► quiet for all, then again, uncounted      401 ─► one new token, once
connection refused ─► NotSent      timeout, broken connection, 408, 5xx ─► UnknownOutcome: again if it may be repeated
404 ─► Missing      other 4xx ─► Refused      401 again, 403 ─► Outage(credentials) if the control read is refused too
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Protocol, TypeAlias

import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt

from worker.api.access import Observer, RetryCause
from worker.api.exchange import Exchange
from worker.api.gate import LONGEST_S, Gate
from worker.api.response import LONGEST_TEXT, retry_after, said, without
from worker.api.wire import TimedOut
from worker.core.backoff import full_jitter
from worker.core.errors import ApiError, Missing, NotSent, Outage, Refused, UnknownOutcome
from worker.ports import Clock, OperationName

Starting: TypeAlias = Callable[[], Awaitable[None]]
"""What must be done before a request goes out."""

ATTEMPTS = 3
RETRY_BASE_S = 0.25
RETRY_CAP_S = 4.0


class Tokens(Protocol):
    """Where tokens come from; see worker.api.token."""

    async def get(self) -> str: ...
    def spoil(self, token: str) -> None: ...


class Answer(msgspec.Struct, frozen=True):
    """A 2xx. `attempts` counts the requests made; `lingering`: one that was given up before may still take effect."""

    body: bytes
    attempts: int = 1
    lingering: bool = False


class Throttled(Exception):
    """429. `after` is the Retry-After in seconds, if there was one."""

    def __init__(self, after: float | None) -> None:
        super().__init__(after)
        self.after = after


class Unauthorized(ApiError):
    """401 or 403: whether it is the client or the event that is refused, the control read tells."""


class Http:
    """Requests that share a wire, a token and a gate."""

    def __init__(self, api_base: str, exchange: Exchange, tokens: Tokens, gate: Gate, clock: Clock, observer: Observer) -> None:
        self._root = f"{api_base.rstrip('/')}/api/v4/integration/"
        self._exchange = exchange
        self._tokens = tokens
        self._gate = gate
        self._clock = clock
        self._observer = observer

    async def request(
        self,
        operation: OperationName,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        repeatable: bool = True,
        starting: Starting | None = None,
    ) -> Answer:
        """Makes a request, again where it helps. `repeatable`: also when it may have been received.

        `starting` is awaited each time immediately before the request goes out, when all waiting is over.
        Raises NotSent, UnknownOutcome, Refused, Missing, Unauthorized, Outage, and what `starting` raises.
        """
        content = None if body is None else msgspec.json.encode(body)
        errors: list[ApiError] = []

        async def attempt() -> bytes:
            if errors:
                self._observer.retry(_cause(errors[-1]))
            try:
                return await self._attempt(operation, method, path, content, starting)
            except ApiError as error:
                errors.append(error)
                raise

        again = (NotSent, UnknownOutcome) if repeatable else (NotSent,)
        try:
            try:
                answer = await attempt()
            except again:
                answer = await self._again(attempt, again)
        except ApiError as error:
            error.attempts = len(errors)
            error.lingering = method != "GET" and any(isinstance(each, UnknownOutcome) for each in errors)
            raise
        lingering = method != "GET" and any(isinstance(each, UnknownOutcome) for each in errors)
        return Answer(answer, len(errors) + 1, lingering)

    async def _again(self, attempt: Callable[[], Awaitable[bytes]], again: tuple[type[ApiError], ...]) -> bytes:
        """The second attempt and those after it; the first is made without tenacity, which costs even when nothing fails."""

        def wait(state: RetryCallState) -> float:
            return self._jittered(state.attempt_number + 1)

        await self._clock.sleep(self._jittered(1))
        retrying = AsyncRetrying(
            stop=stop_after_attempt(ATTEMPTS - 1),
            wait=wait,
            retry=retry_if_exception_type(again),
            sleep=self._clock.sleep,
            reraise=True,
        )
        return await retrying(attempt)

    def _jittered(self, attempt: int) -> float:
        return full_jitter(attempt, base=RETRY_BASE_S, cap=RETRY_CAP_S, chance=self._clock.chance())

    async def _attempt(
        self, operation: OperationName, method: str, path: str, content: bytes | None, starting: Starting | None
    ) -> bytes:
        """One attempt; throttling and one stale token do not count as attempts of their own."""
        began, renewed, round = self._clock.monotonic(), False, 0
        while True:
            await self._gate.passed()
            token = await self._tokens.get()
            if starting is not None:
                await starting()
            try:
                return await self._once(operation, method, path, content, token)
            except Throttled as throttled:
                round += 1
                self._observer.retry("throttled")
                jittered = full_jitter(
                    round, base=1.0, cap=LONGEST_S, chance=self._clock.chance(), at_least=throttled.after or 0.0
                )
                self._gate.quiet(max(jittered, 0.1))
                if self._clock.monotonic() - began > LONGEST_S:
                    raise Outage("circuit", f"Ditio has answered 429 for over {LONGEST_S:.0f} s") from None
            except Unauthorized as error:
                if renewed or error.status != HTTPStatus.UNAUTHORIZED:
                    raise
                renewed = True
                self._observer.retry("unauthorized")
                self._tokens.spoil(token)

    async def _once(self, operation: OperationName, method: str, path: str, content: bytes | None, token: str) -> bytes:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        if content is not None:
            headers["Content-Type"] = "application/json"
        status, answered, body = await self._exchange.make(operation, method, self._root + path, headers, content)
        if 200 <= status < 300:
            return body
        raise _refusal(operation, status, answered, without(token, body), self._clock.now())


def _refusal(operation: OperationName, status: int, headers: Mapping[str, str], body: bytes, now: float) -> Exception:
    """The error that an answer stands for: by its status alone, for the texts are in the user's language."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Throttled(retry_after(headers.get("retry-after"), now))
    text = body[: LONGEST_TEXT * 4].decode("utf-8", "replace")[:LONGEST_TEXT]
    detail = f"{operation}: Ditio answered {status}: {said(body) or 'without a word'}"
    if status in (401, 403):
        return Unauthorized(detail, status=status, response=text)
    if status == HTTPStatus.NOT_FOUND:
        return Missing(detail, status=status, response=text)
    if status == HTTPStatus.REQUEST_TIMEOUT or not 400 <= status < 500:
        return UnknownOutcome(detail, status=status, response=text)
    return Refused(detail, status=status, response=text)


def _cause(error: ApiError) -> RetryCause:
    if isinstance(error, NotSent):
        return "connect"
    if error.status is not None:
        return "server"
    return "timeout" if isinstance(error, TimedOut) else "protocol"
