"""A connection and its channels, as futures.

Source: pika's documentation, "Asynchronous connection adapters"; AMQP 0-9-1, section 1.2 (reply codes).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import pika
from pika.channel import Channel as RawChannel

from worker.core.errors import BrokerError
from worker.rabbit.wire import Wire

CONNECT_S = 10.0
CLOSE_S = 5.0
OPERATION_S = 10.0
HEARTBEAT_S = 10
"""Silence is noticed within 30 s, on either side: pika looks every 15 s, and the broker frees a lost worker's locks in as long."""
OLDEST = (3, 10)


class Access(msgspec.Struct, frozen=True):
    """Where the broker is and how to be let in. `urls` gives the addresses, with credentials, to be tried in turn; never shown.

    `heartbeat_s` is asked for; the broker may have its own mind.
    """

    urls: Callable[[], Sequence[str]]
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    heartbeat_s: int = HEARTBEAT_S

    def parameters(self, name: str) -> list[pika.URLParameters]:
        """pika's form of the addresses; `name` shows in the broker's list of connections."""
        return [self._parameters(url, name) for url in self.urls()]

    def _parameters(self, url: str, name: str) -> pika.URLParameters:
        parameters = pika.URLParameters(url)
        parameters.heartbeat = self.heartbeat_s
        parameters.socket_timeout = parameters.stack_timeout = CONNECT_S
        parameters.connection_attempts = 1
        parameters.client_properties = {"connection_name": f"ditio-worker {name}"}
        if url.startswith("amqps:"):
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file)
            parameters.ssl_options = pika.SSLOptions(context, parameters.host)
        return parameters


class ChannelClosed(BrokerError):
    """The broker closed a channel, with a reply code: 403 no permission, 404 not there, 405 locked, 406 differs."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code
        self.text = text


class Silent(BrokerError):
    """The broker did not answer in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the broker did not answer within {seconds:.0f} s")


class Channel:
    """A channel. When it is gone, everything that waits for it fails with BrokerError; `on_lost` is told, unless it was closed here."""

    def __init__(self, raw: RawChannel, on_lost: Callable[[BrokerError], None]) -> None:
        self.raw = raw
        self._wire: Wire = raw.connection
        self._waiting: set[asyncio.Future[Any]] = set()
        self._closed: asyncio.Future[BrokerError] = asyncio.get_running_loop().create_future()
        self._on_lost = on_lost
        self._closing = False
        raw.add_on_close_callback(self._lost)

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return bool(self.raw.is_open) and not self._closed.done()

    async def call(self, operation: Callable[..., Any], **arguments: Any) -> Any:
        """Carries out an operation of pika's that takes a callback, and returns the broker's answer. Raises BrokerError."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.start(lambda: operation(callback=lambda frame=None: _complete(answer, frame), **arguments))
        return await self.wait(answer, OPERATION_S)

    def start(self, operation: Callable[[], Any]) -> None:
        """Carries out an operation without an answer. Raises BrokerError when the channel is gone."""
        if self._closed.done():
            raise self._closed.result()
        try:
            operation()
        except (pika.exceptions.AMQPError, ValueError) as error:
            raise BrokerError(f"the broker's channel cannot be used: {_worded(error)}") from error

    async def wait(self, answer: asyncio.Future[Any], within_s: float, *, blocked_s: float = 0.0) -> Any:
        """What a future gives, unless the channel goes first. Raises BrokerError.

        A broker that does not answer in time is gone, and the connection with it: whatever else waits there fails at once.
        While it blocks the connection it has for `blocked_s` longer: what was written to it is not read yet, and will be.
        """
        if self._closed.done():
            raise self._closed.result()
        pauses = self._wire.pauses
        self._waiting.add(answer)
        try:
            await asyncio.wait({answer}, timeout=within_s)
            if self._wire.blocked and not answer.done():
                await asyncio.wait({answer}, timeout=blocked_s)
            if answer.done():
                return answer.result()
            silent = Silent(within_s)
            self._unless_paused(pauses, silent)
            raise silent
        finally:
            self._waiting.discard(answer)

    async def close(self) -> None:
        """Closes it, so that the broker delivers again what was not acknowledged. Closing again does nothing."""
        self._closing = True
        pauses = self._wire.pauses
        if self.raw.is_open:
            self.raw.close()
        if not self._closed.done():
            await asyncio.wait({self._closed}, timeout=CLOSE_S)
        if not self._closed.done():
            self._unless_paused(pauses, Silent(CLOSE_S))

    def _unless_paused(self, pauses: int, silent: Silent) -> None:
        """Gives the connection up for its silence, unless nobody listened in the meantime. `pauses` is their count before it."""
        if not self._wire.paused and self._wire.pauses == pauses:
            self._wire.abort(silent)

    def _lost(self, _: RawChannel, reason: Exception) -> None:
        error = _broker_error(reason)
        if not self._closed.done():
            self._closed.set_result(error)
        for answer in tuple(self._waiting):
            if not answer.done():
                answer.set_exception(error)
        if not self._closing:
            self._on_lost(error)


class Connection:
    """An open connection."""

    def __init__(self, raw: Wire, where: str, on_lost: Callable[[BrokerError], None]) -> None:
        self._raw = raw
        self._on_lost = on_lost
        self._closed = asyncio.Event()
        self._closing = False
        self.where = where
        raw.add_on_close_callback(self._lost)

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return bool(self._raw.is_open)

    @property
    def version(self) -> str:
        """The broker's version, such as `3.10.8`."""
        return str((self._raw.server_properties or {}).get("version", "0"))

    async def channel(self, on_lost: Callable[[BrokerError], None] = lambda error: None) -> Channel:
        """Opens a channel. Raises BrokerError, also while the connection is not read."""
        if self._raw.paused:
            raise BrokerError("the connection to the broker is not read now: the worker holds as much as it may")
        opened: asyncio.Future[RawChannel] = asyncio.get_running_loop().create_future()
        try:
            raw = self._raw.channel(on_open_callback=lambda channel: _complete(opened, channel))
        except pika.exceptions.AMQPError as error:
            raise BrokerError(f"the connection to the broker is gone: {_worded(error)}") from error
        channel = Channel(raw, on_lost)
        await channel.wait(opened, OPERATION_S)
        return channel

    def pause(self) -> None:
        """Reads no more until `resume`; heartbeats are sent, and the broker's silence means nothing meanwhile."""
        self._raw.pause()

    def resume(self) -> None:
        """Reads again."""
        self._raw.resume()

    @property
    def blocked(self) -> str:
        """Why the broker takes no messages on it now (an alarm for memory or disk); empty when it does."""
        return self._raw.blocked

    async def free(self, within_s: float) -> None:
        """Returns when the broker takes messages on it. Raises BrokerError with its reason when it does not in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._raw.free.wait()
        if self.blocked:
            raise BrokerError(f"the broker takes no messages now: {self.blocked}")

    async def close(self) -> None:
        """Closes it with all its channels. Closing again does nothing."""
        self._closing = True
        self._raw.resume()
        if self._raw.is_open:
            self._raw.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._closed.wait()
        self._raw.abort(Silent(CLOSE_S))

    def _lost(self, _: Wire, reason: Exception) -> None:
        self._closed.set()
        self._raw.free.set()
        if not self._closing:
            self._on_lost(_broker_error(reason))


async def connect(access: Access, name: str, on_lost: Callable[[BrokerError], None] = lambda error: None) -> Connection:
    """Connects to the first address that answers. Raises BrokerError with what each of them said, without credentials."""
    said: list[str] = []
    for parameters in access.parameters(name):
        where = f"{parameters.host}:{parameters.port}{_vhost(parameters.virtual_host)}"
        try:
            connection = Connection(await _opened(parameters), where, on_lost)
        except (OSError, TimeoutError, pika.exceptions.AMQPError) as error:
            said.append(f"{where}: {_worded(error)}")
            continue
        if tuple(int(part) for part in connection.version.split(".")[:2] if part.isdigit()) < OLDEST:
            await connection.close()
            said.append(f"{where}: RabbitMQ {connection.version} is too old, 3.10 or newer is needed")
            continue
        return connection
    raise BrokerError(f"no connection to the broker: {'; '.join(said)}")


async def _opened(parameters: pika.URLParameters) -> Wire:
    opened: asyncio.Future[Wire] = asyncio.get_running_loop().create_future()
    raw = Wire(parameters, lambda wire: _complete(opened, wire), lambda _, error: _fail(opened, error))
    try:
        async with asyncio.timeout(CONNECT_S):
            return await opened
    except BaseException:
        raw.abort(Silent(CONNECT_S))
        raise


def _complete(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Any) -> None:
    if not future.done():
        future.set_exception(error if isinstance(error, Exception) else pika.exceptions.AMQPConnectionError(str(error)))


def _broker_error(reason: Exception) -> BrokerError:
    if isinstance(reason, pika.exceptions.ChannelClosedByBroker):
        return ChannelClosed(reason.reply_code, reason.reply_text)
    if isinstance(reason, BrokerError):
        return reason
    return BrokerError(f"the connection to the broker is gone: {_worded(reason)}")


def _worded(error: BaseException) -> str:
    """What an error of pika's says, which is often nested and sometimes nothing but its name."""
    match error:
        case pika.exceptions.ProbableAuthenticationError() | pika.exceptions.AuthenticationError():
            return "the broker does not accept the user or the password"
        case pika.exceptions.ProbableAccessDeniedError():
            return "the broker's user has no access to this vhost"
        case pika.exceptions.ConnectionClosed() | pika.exceptions.ChannelClosed():
            return f"{error.reply_text} ({error.reply_code})"
        case TimeoutError():
            return "no answer in time"
    for inner in (*getattr(error, "exceptions", ())[-1:], *error.args):
        if isinstance(inner, BaseException):
            return _worded(inner)
    if (nested := getattr(error, "exception", None)) is not None:
        return _worded(nested)
    return str(error) or type(error).__name__


def _vhost(name: str) -> str:
    return "/" if name == "/" else f"/{name}"
