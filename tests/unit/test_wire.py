"""What each thing that can go wrong on a connection means: not sent for certain, or of unknown outcome. Against real sockets."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from worker.api.httpx_wire import open_wire
from worker.api.wire import Received, TimedOut, Wire
from worker.core.errors import ApiError, NotSent, UnknownOutcome

Server = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

LIMIT_S = 0.4
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection as a crash does: at once, and what was not read is lost."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def read(reader: asyncio.StreamReader) -> bytes:
    """A request's head."""
    return await reader.readuntil(b"\r\n\r\n")


async def resets_before_it_reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reset(writer)


async def resets_after_it_has_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read(reader)
    reset(writer)


async def closes_after_it_has_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read(reader)
    writer.close()


async def closes_its_half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read(reader)
    writer.write_eof()
    await reader.read()


async def stalls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read(reader)
    await reader.read()


async def never_reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a stream's transport can read
    await asyncio.sleep(2 * LIMIT_S)


async def stalls_in_the_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read(reader)
    writer.write(ANSWER[:-1])
    await reader.read()


async def closes_in_the_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read(reader)
    writer.write(ANSWER[:-1])
    await writer.drain()
    writer.close()


async def resets_in_the_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read(reader)
    writer.write(ANSWER[:20])
    await writer.drain()
    reset(writer)


async def speaks_no_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read(reader)
    writer.write(b"220 mail.example ESMTP\r\n\r\n")
    await writer.drain()
    writer.close()


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read(reader)
    writer.write(ANSWER)
    await writer.drain()
    await reader.read()


@asynccontextmanager
async def listening(server: Server) -> AsyncIterator[int]:
    """The port at which a server listens."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await server(reader, writer)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with open_wire(None, None, (), connect_s=LIMIT_S / 2) as wire:
        yield wire


async def post(wire: Wire, port: int, content: bytes = b"{}", scheme: str = "http", host: str = "127.0.0.1") -> Received:
    """Sends a request."""
    return await wire.send("POST", f"{scheme}://{host}:{port}/x", {"Content-Type": "application/json"}, content, LIMIT_S)


async def test_an_answer_is_status_headers_and_body(wire: Wire) -> None:
    async with listening(answers) as port:
        received = await post(wire, port)
    assert (received.status, received.headers.get("content-length"), received.body) == (200, "2", b"ok")


@pytest.mark.parametrize(
    ("server", "means"),
    [
        (resets_before_it_reads, UnknownOutcome),  # what was written may have been read: nothing tells
        (resets_after_it_has_read, UnknownOutcome),
        (closes_after_it_has_read, UnknownOutcome),
        (closes_its_half, UnknownOutcome),
        (stalls, TimedOut),
        (stalls_in_the_answer, TimedOut),
        (closes_in_the_answer, UnknownOutcome),
        (resets_in_the_head, UnknownOutcome),
        (speaks_no_http, UnknownOutcome),
    ],
)
async def test_whatever_breaks_once_there_is_a_connection_is_of_unknown_outcome(
    wire: Wire, server: Server, means: type[ApiError]
) -> None:
    async with listening(server) as port:
        with pytest.raises(ApiError) as error:
            await post(wire, port)
    assert type(error.value) is means


async def test_a_request_that_is_not_read_is_given_up_and_may_have_been_received(wire: Wire) -> None:
    async with listening(never_reads) as port:
        with pytest.raises(TimedOut):
            await post(wire, port, b"x" * 1_000_000)


async def test_a_kept_connection_that_was_reset_meanwhile_is_not_used_again(wire: Wire) -> None:
    # Given a connection that is kept, and reset while nobody uses it
    served = asyncio.Event()

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read(reader)
        await reader.readexactly(2)
        writer.write(ANSWER)
        await writer.drain()
        await served.wait()
        reset(writer)

    async with listening(once) as port:
        assert (await post(wire, port)).status == 200
        served.set()
        await asyncio.sleep(0.05)
        # When, Then
        assert (await post(wire, port)).status == 200


async def test_a_connection_that_is_refused_was_not_sent(wire: Wire) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(NotSent, match=r"no connection to 127\.0\.0\.1"):
            await post(wire, unused.getsockname()[1])


async def test_a_connection_that_is_not_made_in_time_was_not_sent(wire: Wire) -> None:
    # Given a listener whose queue is full, so that it does not answer any more
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        full = [socket.socket() for _ in range(4)]
        for each in full:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        # When, Then
        with pytest.raises(NotSent):
            await post(wire, port)
        for each in full:
            each.close()


async def test_a_name_that_nobody_knows_was_not_sent(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(NotSent, match="no connection to ditio"):
        await post(wire, 80, host="ditio.invalid")


@pytest.mark.parametrize("server", [answers, stalls, closes_after_it_has_read, resets_before_it_reads])
async def test_a_tls_connection_that_does_not_come_about_was_not_sent(wire: Wire, server: Server) -> None:
    # Given a server that speaks no TLS, says nothing, or hangs up; the request is only sent inside
    async def without_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if server is resets_before_it_reads:
            reset(writer)
        elif server is stalls:
            await asyncio.sleep(LIMIT_S)
        else:
            await reader.read(1)
            writer.write(ANSWER if server is answers else b"")

    async with listening(without_tls) as port:
        with pytest.raises(NotSent):
            await post(wire, port, scheme="https")
