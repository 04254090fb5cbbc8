"""The wire of production: httpx's API over aiohttp's connections (worker.api.transport)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx

from worker.api.transport import Transport
from worker.api.wire import Received, TimedOut, Wire
from worker.core.errors import NotSent, UnknownOutcome

LARGEST_ANSWER = 64 * 1_048_576


@asynccontextmanager
async def open_wire(ca_file: str | None, proxy: str | None, no_proxy: tuple[str, ...], connect_s: float) -> AsyncIterator[Wire]:
    """A wire, until the block ends. Connecting alone may take `connect_s`."""
    context = ssl.create_default_context(cafile=ca_file) if ca_file else None
    transport = Transport(context, proxy, no_proxy, connect_s=connect_s)
    async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
        yield HttpxWire(client)


class HttpxWire:
    """See worker.api.wire.Wire."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def send(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None, within_s: float) -> Received:
        """One request, all of it within its time. Raises NotSent, UnknownOutcome, TimedOut."""
        request = self._client.build_request(method, url, content=content, headers=dict(headers))
        try:
            async with asyncio.timeout(within_s):
                response = await self._client.send(request, stream=True)
                try:
                    body = await _read(response)
                finally:
                    await response.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            raise NotSent(f"no connection to {request.url.host}: {_worded(error)}") from error
        except (TimeoutError, httpx.TimeoutException) as error:
            raise TimedOut(f"no answer within {within_s:g} s") from error
        except (httpx.TransportError, httpx.StreamError, httpx.DecodingError) as error:
            raise UnknownOutcome(f"the connection broke: {_worded(error)}") from error
        return Received(response.status_code, response.headers, body)


async def _read(response: httpx.Response) -> bytes:
    parts, size = [], 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > LARGEST_ANSWER:
            raise httpx.DecodingError(f"the answer is larger than {LARGEST_ANSWER} bytes")
        parts.append(part)
    return b"".join(parts)


def _worded(error: Exception) -> str:
    return str(error) or type(error).__name__
