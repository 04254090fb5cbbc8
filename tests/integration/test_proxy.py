"""The fault proxy itself: each fault does on the wire what its name says, and can be switched while it runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import pytest

from tests.support.proxy import CutAfter, HalfClose, Latency, Pass, Proxy, Refuse, Reset, Stall, proxy_to, through
from tests.support.waiting import eventually
from worker.sandbox import Server


class Echo:
    """A server that sends back what it gets, and knows when a client said that it was done."""

    def __init__(self) -> None:
        self.port = 0
        self.ended = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
            self.ended += 1
        writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    server = Echo()
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    yield server
    listening.close()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[Proxy]:
    async with Proxy("127.0.0.1", echo.port) as listening:
        yield listening


class Client:
    """A connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def says(self, data: bytes) -> bytes:
        """Sends, and returns as many bytes as come back of it."""
        self.writer.write(data)
        return await asyncio.wait_for(self.reader.readexactly(len(data)), 5)


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[Client]:
    opened = Client(*await asyncio.open_connection("127.0.0.1", proxy.port))
    assert await opened.says(b"hello") == b"hello"
    yield opened
    opened.writer.transport.abort()


async def test_it_passes_everything_on_and_the_end_too(client: Client, echo: Echo) -> None:
    data = bytes(range(256)) * 4_000
    assert await client.says(data) == data
    client.writer.write_eof()
    assert await asyncio.wait_for(client.reader.read(), 5) == b""
    assert echo.ended == 1


async def test_latency_delays_each_direction(client: Client, proxy: Proxy) -> None:
    await proxy.set(Latency(0.2))
    began = time.monotonic()
    assert await client.says(b"slow") == b"slow"
    assert time.monotonic() - began >= 0.4


async def test_a_stalled_connection_says_nothing_and_goes_on_when_the_stall_is_over(client: Client, proxy: Proxy) -> None:
    # When
    await proxy.set(Stall())
    client.writer.write(b"late")
    fresh_reader, fresh_writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    fresh_writer.write(b"new")
    # Then neither the old connection nor a new one hears anything, or is closed
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.reader.read(1), 0.3)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(fresh_reader.read(1), 0.1)
    # And nothing of it is lost
    await proxy.set(Pass())
    assert await asyncio.wait_for(client.reader.readexactly(4), 5) == b"late"
    assert await asyncio.wait_for(fresh_reader.readexactly(3), 5) == b"new"
    fresh_writer.transport.abort()


async def test_reset_ends_old_and_new_connections_with_rst(client: Client, proxy: Proxy) -> None:
    await proxy.set(Reset())
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(client.reader.read(1), 5)
    reader, _ = await asyncio.open_connection("127.0.0.1", proxy.port)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(1), 5)


async def test_half_closed_towards_the_client_the_server_still_hears(client: Client, proxy: Proxy, echo: Echo) -> None:
    await proxy.set(HalfClose("client"))
    assert await asyncio.wait_for(client.reader.read(1), 5) == b""
    client.writer.write_eof()
    await eventually(lambda: echo.ended == 1)


async def test_half_closed_towards_the_server_it_ends_and_the_client_hears_of_it(
    client: Client, proxy: Proxy, echo: Echo
) -> None:
    await proxy.set(HalfClose("server"))
    await eventually(lambda: echo.ended == 1)
    assert await asyncio.wait_for(client.reader.read(1), 5) == b""


async def test_a_connection_is_cut_after_so_many_bytes(client: Client, proxy: Proxy) -> None:
    # Given 10 bytes there, and 5 of them on their way back
    await proxy.set(CutAfter(15))
    # When
    client.writer.write(b"0123456789")
    # Then
    assert await asyncio.wait_for(client.reader.readexactly(5), 5) == b"01234"
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(client.reader.read(1), 5)


async def test_refused_connections_are_let_in_again_at_the_same_port(client: Client, proxy: Proxy) -> None:
    # When
    await proxy.set(Refuse())
    # Then
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(client.reader.read(1), 5)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", proxy.port)
    # And
    await proxy.set(Pass())
    again = Client(*await asyncio.open_connection("127.0.0.1", proxy.port))
    assert await again.says(b"back") == b"back"
    again.writer.transport.abort()


async def test_http_goes_through_it(ditio: Server) -> None:
    async with proxy_to(ditio.identity_url) as proxy, httpx.AsyncClient(trust_env=False, timeout=1) as http:
        address = through(proxy, f"{ditio.identity_url}/_sandbox/state")
        assert (await http.get(address)).status_code < 500
        await proxy.set(Stall())
        with pytest.raises(httpx.ReadTimeout):
            await http.get(address)
        await proxy.set(Refuse())
        with pytest.raises(httpx.ConnectError):
            await http.get(address)
