"""httpx's API over aiohttp's connections.

httpx's own pool slows down with the number of requests in flight. The packaged bridge `httpx-aiohttp` takes a connection that broke
after the request was sent for one that was never made, and encodes paths anew: both would be wrong here. This one tells exactly what
certainly did not reach the server (ConnectError, ConnectTimeout, ProxyError) from what may have.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import httpx
from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientHandlerType,
    ClientHttpProxyError,
    ClientOSError,
    ClientProxyConnectionError,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    ServerDisconnectedError,
    ServerTimeoutError,
    TCPConnector,
)
from yarl import URL

CONNECTIONS = 256
IDLE_S = 15.0
"""How long an idle connection is kept: less than servers do, so that none is used at the moment of its end."""

PART = 65_536


class Transport(httpx.AsyncBaseTransport):
    """One pool of connections. `no_proxy` lists hosts (and, with a leading dot or not, their subdomains) reached without the proxy."""

    def __init__(self, context: ssl.SSLContext | None, proxy: str | None, no_proxy: tuple[str, ...], connect_s: float) -> None:
        connector = TCPConnector(limit=CONNECTIONS, keepalive_timeout=IDLE_S, ssl=context or True)
        self._session = ClientSession(
            connector=connector,
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            middlewares=(_sent_once,),
            # All of a request's time is watched by the caller; only connecting, which is certain to have done nothing, ends here.
            timeout=ClientTimeout(total=None, sock_connect=connect_s),
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
        )
        self._proxy = proxy
        self._no_proxy = tuple(host.lstrip(".").lower() for host in no_proxy)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends a request whose content is in memory. Raises httpx.TransportError."""
        headers = [(name, value) for name, value in request.headers.items() if name != "content-length"]
        try:
            response = await self._session.request(
                request.method,
                URL(str(request.url), encoded=True),
                headers=headers,
                data=request.content or None,
                allow_redirects=False,
                proxy=self._proxy_for(request.url.host),
            )
        except (ClientError, OSError) as error:
            raise _translated(error, request) from error
        return httpx.Response(response.status, headers=response.raw_headers, stream=Body(response, request), request=request)

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._session.close()

    def _proxy_for(self, host: str) -> str | None:
        direct = any(host == each or host.endswith(f".{each}") or each == "*" for each in self._no_proxy)
        return None if direct else self._proxy


class Broken(ClientError):
    """The connection broke after the request, or a part of it, was sent."""


async def _sent_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Keeps aiohttp from sending a PUT or DELETE again by itself when a kept connection breaks: the first one may have been received,
    and whoever asked must know that."""
    try:
        return await handler(request)
    except ClientConnectorError:
        raise
    except (ClientOSError, ServerDisconnectedError) as error:
        raise Broken(str(error) or type(error).__name__) from error


class Body(httpx.AsyncByteStream):
    """The body of an answer as it arrives."""

    def __init__(self, response: ClientResponse, request: httpx.Request) -> None:
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._response.content.iter_chunked(PART):
                yield part
        except (ClientError, OSError) as error:
            raise _translated(error, self._request) from error

    async def aclose(self) -> None:
        """Gives the connection back, or closes it if the body was not read to its end."""
        self._response.release()


def _translated(error: Exception, request: httpx.Request) -> httpx.TransportError:
    said = str(error) or type(error).__name__
    match error:
        case ClientProxyConnectionError() | ClientHttpProxyError():
            return httpx.ProxyError(f"proxy: {type(error).__name__}", request=request)
        case ConnectionTimeoutError():
            return httpx.ConnectTimeout(said, request=request)
        case ClientConnectorError():
            return httpx.ConnectError(said, request=request)
        case ServerTimeoutError() | TimeoutError():
            return httpx.ReadTimeout(said, request=request)
        case _:
            return httpx.RemoteProtocolError(said, request=request)
