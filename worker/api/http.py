"""One request to Ditio: with a token, within its time, again where that helps, and errors translated at the border.

2xx ─► answer      429 ─► quiet for all, then again, uncounted      401 ─► one new token, once
connection refused ─► NotSent      timeout, broken connection, 408, 5xx ─► UnknownOutcome: again if it may be repeated
404 ─► Missing      other 4xx ─► Refused      401 again, 403 ─► Outage(credentials) if the control read is refused too
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, Protocol, TypeAlias

import httpx
import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt

from worker.api.gate import LONGEST_S, Gate
from worker.api.response import LONGEST_TEXT, http_date, retry_after, said, without
from worker.core.backoff import full_jitter
from worker.core.errors import ApiError, Missing, NotSent, Outage, Refused, UnknownOutcome
from worker.ports import Clock, OperationName

RetryCause: TypeAlias = Literal["connect", "timeout", "protocol", "server", "throttled", "unauthorized"]

Starting: TypeAlias = Callable[[], Awaitable[None]]
"""What must be done before a request goes out."""

ATTEMPTS = 3
RETRY_BASE_S = 0.25
RETRY_CAP_S = 4.0
LARGEST_ANSWER = 64 * 1_048_576


class Access(msgspec.Struct, frozen=True):
    """Where Ditio is and how to be let in. `client_secret` is asked at each new token, so that a renewed one is found. Times in seconds."""

    api_base: str
    identity_base: str
    client_id: str
    client_secret: Callable[[], str]
    company_id: str
    scope: str = "ditioapiv3"
    timeout_s: float = 10
    max_requests_per_s: float | None = None
    ca_file: str | None = None
    proxy: str | None = None
    no_proxy: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Without the proxy, whose address may hold a password."""
        return f"Access({self.api_base!r}, client_id={self.client_id!r}, company_id={self.company_id!r})"


class Observer(Protocol):
    """Is told of each request, of each that is made again, and of how far Ditio's clock is ahead (seconds)."""

    def request(self, operation: OperationName, status: int | None, seconds: float) -> None: ...
    def retry(self, cause: RetryCause) -> None: ...
    def clock_ahead(self, seconds: float) -> None: ...


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
    """Requests that share a client, a token and a gate."""

    def __init__(
        self, access: Access, client: httpx.AsyncClient, tokens: Tokens, gate: Gate, clock: Clock, observer: Observer
    ) -> None:
        self._root = f"{access.api_base.rstrip('/')}/api/v4/integration/"
        self._timeout_s = access.timeout_s
        self._client = client
        self._tokens = tokens
        self._gate = gate
        self._clock = clock
        self._observer = observer

    def finish_by(self, deadline: float) -> None:
        """No attempt starts that could last longer than until then (seconds of the monotonic clock)."""
        self._gate.last_start(deadline - self._timeout_s)

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
                if renewed or error.status != httpx.codes.UNAUTHORIZED:
                    raise
                renewed = True
                self._observer.retry("unauthorized")
                self._tokens.spoil(token)

    async def _once(self, operation: OperationName, method: str, path: str, content: bytes | None, token: str) -> bytes:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        if content is not None:
            headers["Content-Type"] = "application/json"
        request = self._client.build_request(method, self._root + path, content=content, headers=headers)
        status, answered, body = await timed(self._client, request, operation, self._timeout_s, self._clock, self._observer)
        if 200 <= status < 300:
            return body
        raise _refusal(operation, status, answered, without(token, body), self._clock.now())


async def timed(
    client: httpx.AsyncClient,
    request: httpx.Request,
    operation: OperationName,
    within_s: float,
    clock: Clock,
    observer: Observer,
) -> tuple[int, httpx.Headers, bytes]:
    """Sends one request, all of it within its time. Raises NotSent or UnknownOutcome."""
    began, status = clock.monotonic(), None
    try:
        async with asyncio.timeout(within_s):
            response = await client.send(request, stream=True)
            try:
                body = await _read(response)
            finally:
                await response.aclose()
        status = response.status_code
        if (date := http_date(response.headers.get("Date"))) is not None:
            observer.clock_ahead(date - clock.now())
        return status, response.headers, body
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
        raise NotSent(f"{operation}: no connection to {request.url.host}: {_worded(error)}") from error
    except (TimeoutError, httpx.TimeoutException) as error:
        raise UnknownOutcome(f"{operation}: no answer within {within_s:g} s") from error
    except (httpx.TransportError, httpx.StreamError, httpx.DecodingError) as error:
        raise UnknownOutcome(f"{operation}: the connection broke: {_worded(error)}") from error
    finally:
        observer.request(operation, status, clock.monotonic() - began)


async def _read(response: httpx.Response) -> bytes:
    parts, size = [], 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > LARGEST_ANSWER:
            raise httpx.DecodingError(f"the answer is larger than {LARGEST_ANSWER} bytes")
        parts.append(part)
    return b"".join(parts)


def _refusal(operation: OperationName, status: int, headers: httpx.Headers, body: bytes, now: float) -> Exception:
    """The error that an answer stands for: by its status alone, for the texts are in the user's language."""
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return Throttled(retry_after(headers.get("Retry-After"), now))
    text = body[: LONGEST_TEXT * 4].decode("utf-8", "replace")[:LONGEST_TEXT]
    detail = f"{operation}: Ditio answered {status}: {said(body) or 'without a word'}"
    if status in (401, 403):
        return Unauthorized(detail, status=status, response=text)
    if status == httpx.codes.NOT_FOUND:
        return Missing(detail, status=status, response=text)
    if status == httpx.codes.REQUEST_TIMEOUT or not 400 <= status < 500:
        return UnknownOutcome(detail, status=status, response=text)
    return Refused(detail, status=status, response=text)


def _cause(error: ApiError) -> RetryCause:
    if isinstance(error, NotSent):
        return "connect"
    if error.status is not None:
        return "server"
    return "timeout" if isinstance(error.__cause__, TimeoutError | httpx.TimeoutException) else "protocol"


def _worded(error: Exception) -> str:
    return str(error) or type(error).__name__
