"""`ditio-worker publish`: events from files to the broker, each confirmed."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from worker.cli.files import Found, add_files, events
from worker.cli.progress import progress
from worker.cli.terminal import Command, Terminal, add_format
from worker.cli.validate import STRUCTURED, decoder, faults_of, show
from worker.config import Settings
from worker.core.errors import BrokerError
from worker.core.message import Message

UNCONFIRMED = 256
"""How many events may be on their way at once: enough to hide the round trip, few enough to name after a failure."""

LONGEST_SHORT_STRING = 255
"""Bytes that AMQP has for a routing key, a message id or a type."""


class Exchange(Protocol):
    """Confirmed, mandatory publishing to the exchange."""

    async def publish(self, routing_key: str, message: Message) -> None:
        """Returns when the broker has confirmed it; raises BrokerError."""
        ...


@dataclass(frozen=True)
class Unpublished:
    """An event that the broker did not confirm, and why."""

    file: str
    line: int
    detail: str


class Envelope(msgspec.Struct):
    """What of an event the broker should know too."""

    type: str = ""
    id: str = ""


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Publishes all events, or none when one of them is not valid."""
    settings = terminal.settings("publish")
    found = events(arguments.files, terminal.stdin or sys.stdin.buffer)
    if arguments.validate and (faults := faults_of(found, decoder(terminal, "validate"))):
        show(arguments.format, faults, terminal)
        terminal.complain(f"nothing was published: {len(faults)} of {len(found)} events are invalid")
        return 1
    failed = asyncio.run(_publish(found, settings, arguments.routing_key, terminal))
    return _report(found, failed, arguments.format, terminal)


async def _publish(found: Sequence[Found], settings: Settings, key: str | None, terminal: Terminal) -> list[Unpublished]:
    async with _exchange(settings) as exchange:
        with progress(terminal, len(found), "publishing") as advance:
            return await publish_all(found, exchange, key, advance)


async def publish_all(
    found: Sequence[Found], exchange: Exchange, key: str | None, advance: Callable[[], None] = lambda: None
) -> list[Unpublished]:
    """Publishes events in order, several at once unconfirmed, and returns those that the broker did not take.

    `key` is the routing key of all (None: the type of each). `advance` is called after each.
    """
    failed: list[Unpublished] = []
    places = asyncio.Semaphore(UNCONFIRMED)

    async def one(each: Found) -> None:
        try:
            envelope = _envelope(each.body)
            await exchange.publish(key or envelope.type, _message(each.body, envelope))
        except BrokerError as error:
            failed.append(Unpublished(each.file, each.line, str(error)))
        finally:
            places.release()
            advance()

    async with asyncio.TaskGroup() as group:
        for each in found:
            await places.acquire()
            group.create_task(one(each))
    return sorted(failed, key=lambda each: (each.file, each.line))


def _envelope(body: bytes) -> Envelope:
    """Empty where the event has nothing that AMQP could carry: --no-validate publishes what no worker can read."""
    try:
        envelope = msgspec.json.decode(body, type=Envelope)
        return Envelope(_short(envelope.type), _short(envelope.id))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return Envelope()


def _short(text: str) -> str:
    return text if len(text.encode()) <= LONGEST_SHORT_STRING else ""


def _message(body: bytes, envelope: Envelope) -> Message:
    properties: dict[str, object] = {
        "content_type": STRUCTURED,
        "delivery_mode": 2,
        "timestamp": datetime.fromtimestamp(int(time.time()), UTC),
    }
    given = {"message_id": envelope.id, "type": envelope.type}
    return Message(body, properties=properties | {name: text for name, text in given.items() if text})


def _report(found: Sequence[Found], failed: Sequence[Unpublished], form: str, terminal: Terminal) -> int:
    rows = [{"file": each.file, "line": each.line, "detail": each.detail} for each in failed]
    if failed or form != "table":
        terminal.show(form, ("file", "line", "detail"), rows)
    terminal.complain(f"{len(found) - len(failed)} of {len(found)} events published")
    return 1 if failed else 0


class ToAnyExchange(Protocol):
    """See worker.rabbit.Publisher."""

    async def publish_to(self, exchange: str, routing_key: str, message: Message) -> None: ...


@dataclass(frozen=True)
class ToExchange:
    """The exchange of the settings."""

    publisher: ToAnyExchange
    name: str

    async def publish(self, routing_key: str, message: Message) -> None:
        """Returns when the broker has confirmed it; raises BrokerError."""
        await self.publisher.publish_to(self.name, routing_key, message)


@asynccontextmanager
async def _exchange(settings: Settings) -> AsyncIterator[Exchange]:
    """An open way to the exchange. Raises BrokerError when there is no broker: then nothing was published."""
    from worker.rabbit import Publisher  # noqa: PLC0415 - keeps --help fast
    from worker.wiring import broker_access  # noqa: PLC0415

    publisher = Publisher(broker_access(settings))
    try:
        await publisher.open()
        yield ToExchange(publisher, settings.worker_queue_prefix)
    finally:
        await publisher.close()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Files, routing key, validation and format."""
    add_files(parser)
    parser.add_argument("--routing-key", metavar="KEY", help="of all events; the type of each unless given")
    parser.add_argument("--no-validate", dest="validate", action="store_false", help="publish also what is not valid")
    add_format(parser)


COMMAND = Command(
    summary="publish events from files, each confirmed by the broker",
    description="Publishes events (structured CloudEvents in JSON) to the exchange WORKER_QUEUE_PREFIX at AMQP_URL,\n"
    "in order. All are validated first, and nothing is published when one is not valid. The exit status is 0 when the\n"
    "broker has confirmed every event; those that it did not take are listed with file and line.\n\n"
    'json: [{"file": …, "line": n, "detail": …}, …], what was not published; jsonl: one such object a line.\n'
    "Invalid events are shown as `validate` does.",
    example="  ditio-worker publish events.jsonl\n  generate-events | ditio-worker publish - --routing-key month-end",
    execute=execute,
    arguments=add_arguments,
)
