"""A lock that says who holds it: an exclusive queue, and beside it an exchange of the same name that carries a note.

Nobody but its owner can see anything of an exclusive queue. So the note is an argument of an exchange that is bound to it, and goes with it
(auto-delete) when the owner's connection ends, however it ends. It is read by declaring the exchange in another form: the broker's
refusal quotes the argument. Of all arguments the broker compares one of an exchange, `alternate-exchange`; nothing is ever published to it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial

from worker.core.errors import BrokerError
from worker.rabbit.connection import Channel, ChannelClosed, Connection
from worker.rabbit.declare import LockHeld, hold

ARGUMENT = "alternate-exchange"
NOTE = re.compile(r"current is the value '(.+)")
POLL_S = 0.25


async def hold_with_note(connection: Connection, lock: str, note: str, *, patience_s: float = 0.0) -> None:
    """Takes a lock for as long as the connection lasts, and tells others `note` (short: what the broker quotes is cut at 255 bytes).

    Raises LockHeld with the note of who holds it, as far as it can be known, when it is not free within `patience_s`.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    while True:
        try:
            await hold(connection, lock)
            break
        except LockHeld:
            if loop.time() >= deadline:
                raise LockHeld(f"{lock} is held by {await note_of(connection, lock)}") from None
        await asyncio.sleep(POLL_S)
    await _leave(connection, lock, note)


async def note_of(connection: Connection, lock: str) -> str:
    """The note of whoever holds a lock."""
    try:
        await _on_a_channel(connection, partial(_declare, name=lock))
        await _on_a_channel(connection, partial(_delete, name=lock))  # there was none, and there is to be none
    except ChannelClosed as error:
        if error.code == 406 and (found := NOTE.search(error.text)):
            quoted = re.sub(r"'? of (type )?('\w+'|\.\.\.).*$", "", found[1])
            return quoted.removeprefix(lock).strip()
    except BrokerError:
        pass
    return "another process, which left no note (the broker's list of connections shows who it is)"


async def _leave(connection: Connection, lock: str, note: str) -> None:
    """Leaves the note. Where that is not allowed, there is none: the lock does not depend on it."""
    try:
        await _on_a_channel(connection, partial(_declare, name=lock, note=f"{lock} {note}"))
    except ChannelClosed as error:
        if error.code != 406:
            return
        # What an owner left that ended between declaring and binding: the lock is ours, and so is this.
        await _on_a_channel(connection, partial(_delete, name=lock))
        await _leave(connection, lock, note)
        return
    await _on_a_channel(connection, partial(_bind, name=lock))


async def _on_a_channel(connection: Connection, operation: Callable[[Channel], Awaitable[None]]) -> None:
    channel = await connection.channel()
    try:
        await operation(channel)
    finally:
        await channel.close()


async def _declare(channel: Channel, *, name: str, note: str = "") -> None:
    arguments = {ARGUMENT: note} if note else {}
    await channel.call(channel.raw.exchange_declare, exchange=name, exchange_type="fanout", auto_delete=True, arguments=arguments)


async def _bind(channel: Channel, *, name: str) -> None:
    await channel.call(channel.raw.queue_bind, queue=name, exchange=name)


async def _delete(channel: Channel, *, name: str) -> None:
    await channel.call(channel.raw.exchange_delete, exchange=name)
