"""Faults on the wire: a TCP proxy whose behaviour is switched while connections go through it.

    client ──► proxy ──► server        pass · latency · stall · reset · half-close · cut after N bytes · refuse

It knows no protocol: AMQP, HTTP and a database's are the same to it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, TypeAlias
from urllib.parse import urlsplit, urlunsplit

CHUNK = 65_536
RST_ON_CLOSE = struct.pack("ii", 1, 0)

Side: TypeAlias = Literal["client", "server"]


@dataclass(frozen=True)
class Pass:
    """Everything goes through at once."""


@dataclass(frozen=True)
class Latency:
    """Each piece arrives so many seconds later, in each direction."""

    seconds: float


@dataclass(frozen=True)
class Stall:
    """Connections are accepted and stay open, and nothing goes through any more: a half-open connection."""


@dataclass(frozen=True)
class Reset:
    """Every connection, also each new one, ends with RST."""


@dataclass(frozen=True)
class HalfClose:
    """Towards this side the connections are shut down (FIN); the other direction goes on."""

    towards: Side


@dataclass(frozen=True)
class CutAfter:
    """Each connection ends with RST once so many bytes, counted in both directions from now on, went through."""

    bytes: int


@dataclass(frozen=True)
class Refuse:
    """Nobody listens at the port; the connections that there were end with RST."""


Fault: TypeAlias = Pass | Latency | Stall | Reset | HalfClose | CutAfter | Refuse


class Proxy:
    """A proxy to a host and port, at a free loopback port that stays the same. `accepted` counts connections."""

    def __init__(self, host: str, port: int) -> None:
        self._to = host, port
        self._fault: Fault = Pass()
        self._switched = asyncio.Event()
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.accepted = 0

    @property
    def fault(self) -> Fault:
        """What happens to bytes now."""
        return self._fault

    async def set(self, fault: Fault) -> None:
        """Switches, for the connections that there are and for those to come. Of what was stalled nothing is lost."""
        self._fault = fault
        self._switched.set()
        self._switched = asyncio.Event()
        if isinstance(fault, Reset | Refuse):
            for link in tuple(self._links):
                link.reset()
        for link in self._links:
            link.passed = 0
            if isinstance(fault, HalfClose):
                link.half_close(fault.towards)
        await (self._deafen() if isinstance(fault, Refuse) else self._listen())

    async def cleared(self, fault: Fault) -> None:
        """Returns as soon as another fault than this one is set."""
        while self._fault is fault:
            await self._switched.wait()

    async def __aenter__(self) -> Proxy:
        await self._listen()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._deafen()
        for link in tuple(self._links):
            link.reset()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _deafen(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        try:
            with suppress(asyncio.CancelledError):  # only at the end of the proxy, where nobody asks
                await self._serve(reader, writer)
        finally:
            await _ended(writer)
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(self._fault, Reset):
            _reset(writer)
            return
        if isinstance(self._fault, Stall):
            await self.cleared(self._fault)
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._to)
        except OSError:
            _reset(writer)
            return
        link = _Link(self, writer, server_writer)
        self._links.add(link)
        try:
            await asyncio.gather(link.pump(reader, "server"), link.pump(server_reader, "client"))
        finally:
            self._links.discard(link)
            link.reset()
            await _ended(server_writer)


class _Link:
    """One connection through the proxy. `passed` counts bytes since the last switch."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._writers: dict[Side, asyncio.StreamWriter] = {"client": client, "server": server}
        self.passed = 0

    async def pump(self, reader: asyncio.StreamReader, towards: Side) -> None:
        """Carries bytes in one direction until it ends."""
        writer = self._writers[towards]
        try:
            while data := await reader.read(CHUNK):
                allowed = await self._allowed(data)
                if writer.is_closing():
                    return
                writer.write(allowed)
                await writer.drain()
                if len(allowed) < len(data):
                    await asyncio.sleep(0)
                    self.reset()
                    return
            await self._allowed(b"")
            self.half_close(towards)
        except (OSError, RuntimeError):  # nothing can be written any more: gone, or shut down by a half-close
            self.reset()

    async def _allowed(self, data: bytes) -> bytes:
        """What may go through of this piece, once it may."""
        while isinstance(fault := self._proxy.fault, Stall):
            await self._proxy.cleared(fault)
        match fault:
            case Latency(seconds):
                await asyncio.sleep(seconds)
            case CutAfter(most) if self.passed + len(data) > most:
                return data[: max(0, most - self.passed)]
        self.passed += len(data)
        return data

    def half_close(self, towards: Side) -> None:
        """FIN in one direction."""
        writer = self._writers[towards]
        with suppress(OSError, RuntimeError):
            if not writer.is_closing() and writer.can_write_eof():
                writer.write_eof()

    def reset(self) -> None:
        """RST in both directions."""
        for writer in self._writers.values():
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection with RST: closing with a linger time of none."""
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None and not writer.is_closing():
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
    writer.transport.abort()


async def _ended(writer: asyncio.StreamWriter) -> None:
    """Ends a connection, and returns when its socket is gone."""
    _reset(writer)
    with suppress(OSError):
        await writer.wait_closed()


def through(proxy: Proxy, url: str) -> str:
    """The address with the proxy's host and port in place of its own."""
    split = urlsplit(url)
    credentials, at, _ = split.netloc.rpartition("@")
    return urlunsplit(split._replace(netloc=f"{credentials}{at}127.0.0.1:{proxy.port}"))


def proxy_to(url: str) -> Proxy:
    """A proxy to where an address points, not listening yet."""
    split = urlsplit(url)
    assert split.hostname is not None
    assert split.port is not None
    return Proxy(split.hostname, split.port)
