"""A connection and its channels, as futures.

Source: pika's documentation, "Asynchronous connection adapters"; AMQP 0-9-1, section 1.2 (reply codes).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel as RawChannel

from worker.core.errors import BrokerError
from worker.rabbit.exact import carry_exactly

CONNECT_S = 15.0
CLOSE_S = 5.0
OPERATION_S = 30.0
HEARTBEAT_S = 30
BLOCKED_S = 120.0
OLDEST = (3, 10)


class Access(msgspec.Struct, frozen=True):
    """Where the broker is and how to be let in. `urls` gives the addresses, with credentials, to be tried in turn; never shown."""

    urls: Callable[[], Sequence[str]]
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    def parameters(self, name: str) -> list[pika.URLParameters]:
        """pika's form of the addresses; `name` shows in the broker's list of connections."""
        return [self._parameters(url, name) for url in self.urls()]

    def _parameters(self, url: str, name: str) -> pika.URLParameters:
        parameters = pika.URLParameters(url)
        parameters.heartbeat = HEARTBEAT_S
        parameters.blocked_connection_timeout = BLOCKED_S
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


class Channel:
    """A channel. When it is gone, everything that waits for it fails with BrokerError; `on_lost` is told, unless it was closed here."""

    def __init__(self, raw: RawChannel, on_lost: Callable[[BrokerError], None]) -> None:
        self.raw = raw
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

    async def wait(self, answer: asyncio.Future[Any], within_s: float) -> Any:
        """What a future gives, unless the channel goes first. Raises BrokerError."""
        if self._closed.done():
            raise self._closed.result()
        self._waiting.add(answer)
        try:
            async with asyncio.timeout(within_s):
                return await answer
        except TimeoutError as error:
            raise BrokerError(f"the broker did not answer within {within_s:.0f} s") from error
        finally:
            self._waiting.discard(answer)

    async def close(self) -> None:
        """Closes it, so that the broker delivers again what was not acknowledged. Closing again does nothing."""
        self._closing = True
        if self.raw.is_open:
            self.raw.close()
        if not self._closed.done():
            await asyncio.wait({self._closed}, timeout=CLOSE_S)

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

    def __init__(self, raw: AsyncioConnection, where: str, on_lost: Callable[[BrokerError], None]) -> None:
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
        """Opens a channel. Raises BrokerError."""
        opened: asyncio.Future[RawChannel] = asyncio.get_running_loop().create_future()
        try:
            raw = self._raw.channel(on_open_callback=lambda channel: _complete(opened, channel))
        except pika.exceptions.AMQPError as error:
            raise BrokerError(f"the connection to the broker is gone: {_worded(error)}") from error
        channel = Channel(raw, on_lost)
        await channel.wait(opened, OPERATION_S)
        return channel

    async def close(self) -> None:
        """Closes it with all its channels. Closing again does nothing."""
        self._closing = True
        if self._raw.is_open:
            self._raw.close()
        if not self._raw.is_closed:
            await asyncio.wait({asyncio.ensure_future(self._closed.wait())}, timeout=CLOSE_S)

    def _lost(self, _: AsyncioConnection, reason: Exception) -> None:
        self._closed.set()
        if not self._closing:
            self._on_lost(_broker_error(reason))


async def connect(access: Access, name: str, on_lost: Callable[[BrokerError], None] = lambda error: None) -> Connection:
    """Connects to the first address that answers. Raises BrokerError with what each of them said, without credentials."""
    carry_exactly()
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


async def _opened(parameters: pika.URLParameters) -> AsyncioConnection:
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[AsyncioConnection] = loop.create_future()
    raw = AsyncioConnection(
        parameters,
        on_open_callback=lambda connection: _complete(opened, connection),
        on_open_error_callback=lambda _, error: _fail(opened, error),
        custom_ioloop=loop,
    )
    try:
        async with asyncio.timeout(CONNECT_S):
            return await opened
    except BaseException:
        if raw.is_open:
            raw.close()
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
