"""One request to Ditio: with a token, within its time, again where that helps, and errors translated at the border.

turn (worker.api.limiter) ─► gate ─► token ─► what must be durable before ─► the wire; the control read takes no turn

2xx ─► answer      429 ─► quiet for all, then again, uncounted      401 ─► one new token, once
connection refused ─► NotSent      timeout, broken connection, 408, 5xx ─► UnknownOutcome: again if it may be repeated,
                      not before its Retry-After
404 ─► Missing      other 4xx ─► Refused      401 again, 403 ─► Outage(credentials) if the control read is refused too
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from http import HTTPStatus
from typing import Protocol, TypeAlias

import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from worker.api.access import Observer, RetryCause
from worker.api.exchange import Exchange
from worker.api.gate import LONGEST_S, Gate
from worker.api.limiter import Limiter
from worker.api.patience import Patience
from worker.api.response import LONGEST_TEXT, retry_after, said, without
from worker.api.wire import TimedOut
from worker.core.backoff import full_jitter
from worker.core.errors import Abandoned, ApiError, Missing, NotSent, Outage, Refused, UnknownOutcome
from worker.ports import Clock, OperationName

Starting: TypeAlias = Callable[[], Awaitable[None]]
"""What must be done before a request goes out."""

Waiting: TypeAlias = Callable[[], AbstractAsyncContextManager[None]]
"""Surrounds the time from the wish for a request to its end: whoever made it can do nothing then."""

BESIDE = frozenset({"control", "token"})
"""What takes no turn: it tells whether anything can go on at all."""

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


class Asked(msgspec.Struct, frozen=True):
    """What a request is to be."""

    operation: OperationName
    method: str
    url: str
    content: bytes | None
    starting: Starting | None


class Throttled(Exception):
    """429. `after` is the Retry-After in seconds, if there was one; `news` that there was none just before."""

    def __init__(self, after: float | None) -> None:
        super().__init__(after)
        self.after = after
        self.news = True


class Unavailable(UnknownOutcome):
    """408 or 5xx. `after` is the Retry-After in seconds, if there was one."""

    after: float | None = None


class Unauthorized(ApiError):
    """401 or 403 to a `token`: whether it is the client or the event that is refused, the control read tells."""

    token = ""


class Http:
    """Requests that share a wire, a token, a gate and a limit."""

    def __init__(
        self,
        api_base: str,
        exchange: Exchange,
        tokens: Tokens,
        gate: Gate,
        limiter: Limiter,
        patience: Patience,
        clock: Clock,
        observer: Observer,
        waiting: Waiting = nullcontext,
    ) -> None:
        self._root = f"{api_base.rstrip('/')}/api/v4/integration/"
        self._exchange = exchange
        self._tokens = tokens
        self._gate = gate
        self._limiter = limiter
        self._patience = patience
        self._clock = clock
        self._observer = observer
        self._waiting = waiting

    @property
    def in_flight(self) -> int:
        """How many requests are in flight now."""
        return self._exchange.in_flight

    @property
    def concurrency_limit(self) -> int:
        """How many requests may be in flight at once now."""
        return self._limiter.limit.allowed

    def pace(self, per_s: float) -> None:
        """No more requests than this start per second from now on."""
        self._gate.pace(per_s)

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
        Raises NotSent, UnknownOutcome, Refused, Missing, Unauthorized, Outage, Abandoned, and what `starting` raises.
        """
        content = None if body is None else msgspec.json.encode(body)
        asked = Asked(operation, method, self._root + path, content, starting)
        errors: list[ApiError] = []

        async def attempt() -> bytes:
            if errors:
                self._observer.retry(_cause(errors[-1]))
            try:
                return await self._attempt(asked)
            except ApiError as error:
                errors.append(error)
                raise

        again = (NotSent, UnknownOutcome) if repeatable else (NotSent,)
        try:
            async with self._waiting():
                try:
                    answer = await attempt()
                except again as error:
                    answer = await self._again(attempt, again, error)
        except ApiError as error:
            error.attempts = len(errors)
            error.lingering = _lingers(method, errors)
            raise
        except Abandoned as error:
            error.lingering = _lingers(method, errors)
            raise
        return Answer(answer, len(errors) + 1, _lingers(method, errors))

    async def _again(self, attempt: Callable[[], Awaitable[bytes]], again: tuple[type[ApiError], ...], first: ApiError) -> bytes:
        """The second attempt and those after it; the first is made without tenacity, which costs even when nothing fails."""

        def helps(error: BaseException) -> bool:
            return isinstance(error, again) and _after(error) <= LONGEST_S

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            return self._jittered(state.attempt_number + 1, _after(error))

        if not helps(first):
            raise first
        await self._patience.sleep(self._jittered(1, _after(first)))
        retrying = AsyncRetrying(
            stop=stop_after_attempt(ATTEMPTS - 1),
            wait=wait,
            retry=retry_if_exception(helps),
            sleep=self._patience.sleep,
            reraise=True,
        )
        return await retrying(attempt)

    def _jittered(self, attempt: int, at_least: float) -> float:
        return full_jitter(attempt, base=RETRY_BASE_S, cap=RETRY_CAP_S, chance=self._clock.chance(), at_least=at_least)

    async def _attempt(self, asked: Asked) -> bytes:
        """One attempt; throttling and one stale token do not count as attempts of their own."""
        renewed, rounds, first = False, 0, 0.0
        while True:
            try:
                await self._tokens.get()  # whoever waits for a token shares it, or its failure, without a turn
                async with nullcontext() if asked.operation in BESIDE else self._limiter.turn():
                    return await self._in_turn(asked)
            except Throttled as throttled:
                rounds += 1
                first = first or self._clock.monotonic()
                self._observer.retry("throttled")
                self._slow_down(throttled, rounds)
                if self._clock.monotonic() - first > LONGEST_S:
                    raise Outage("circuit", f"Ditio has answered 429 for over {LONGEST_S:.0f} s") from None
            except Unauthorized as error:
                if renewed or error.status != HTTPStatus.UNAUTHORIZED:
                    raise
                renewed = True
                self._observer.retry("unauthorized")
                self._tokens.spoil(error.token)

    def _slow_down(self, throttled: Throttled, rounds: int) -> None:
        """Nobody starts for a while: as long as Ditio asks for, else a jitter that grows; once for those that were on their way together."""
        if throttled.news or throttled.after is not None:
            jittered = full_jitter(rounds, base=1.0, cap=LONGEST_S, chance=self._clock.chance(), at_least=throttled.after or 0.0)
            self._gate.quiet(max(jittered, 0.1))

    async def _in_turn(self, asked: Asked) -> bytes:
        """Goes out as soon as it may. Raises Throttled, ApiError, Outage, Abandoned, and what `starting` raises."""
        await self._gate.passed()
        token = await self._tokens.get()
        self._exchange.may_begin()
        if asked.starting is not None:
            await asked.starting()
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        if asked.content is not None:
            headers["Content-Type"] = "application/json"
        began = self._clock.monotonic()
        exchange = self._exchange.make(asked.operation, asked.method, asked.url, headers, asked.content)
        beside = asked.operation in BESIDE
        status, answered, body = await (exchange if beside else self._limiter.carry(asked.operation, exchange))
        if 200 <= status < 300:
            return body
        refusal = _refusal(asked.operation, status, answered, without(token, body), self._clock.now())
        if isinstance(refusal, Throttled) and not beside:
            refusal.news = self._limiter.throttled(began)
        if isinstance(refusal, Unauthorized):
            refusal.token = token
        raise refusal


def _lingers(method: str, errors: list[ApiError]) -> bool:
    return method != "GET" and any(isinstance(each, UnknownOutcome) for each in errors)


def _after(error: BaseException | None) -> float:
    """The seconds that must pass before the next attempt."""
    return (error.after or 0.0) if isinstance(error, Unavailable) else 0.0


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
        unavailable = Unavailable(detail, status=status, response=text)
        unavailable.after = retry_after(headers.get("retry-after"), now)
        return unavailable
    return Refused(detail, status=status, response=text)


def _cause(error: ApiError) -> RetryCause:
    if isinstance(error, NotSent):
        return "connect"
    if error.status is not None:
        return "server"
    return "timeout" if isinstance(error, TimedOut) else "protocol"
