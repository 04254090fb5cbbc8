"""Where Ditio is, how to be let in, and who is told of requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias

import msgspec

from worker.ports import OperationName

RetryCause: TypeAlias = Literal["connect", "timeout", "protocol", "server", "throttled", "unauthorized"]


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
    max_in_flight: int = 64

    def __repr__(self) -> str:
        """Without the proxy, whose address may hold a password."""
        return f"Access({self.api_base!r}, client_id={self.client_id!r}, company_id={self.company_id!r})"


class Observer(Protocol):
    """Is told of each request, of each that is made again, and of how far Ditio's clock is ahead (seconds)."""

    def request(self, operation: OperationName, status: int | None, seconds: float) -> None: ...
    def retry(self, cause: RetryCause) -> None: ...
    def clock_ahead(self, seconds: float) -> None: ...
