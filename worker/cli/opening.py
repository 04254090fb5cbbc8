"""Opening the ledger and the broker for operators' commands, beside a worker that may be using both.

What is not there is told in a sentence: a ledger that cannot be used as it stands is a wrong setting (exit status 2).
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from worker.config import Settings, SettingsError

if TYPE_CHECKING:  # the adapters are slow to import, and --help needs none of them
    from worker.ledger import Reader, Store
    from worker.rabbit import Connection


@asynccontextmanager
async def reading_ledger(settings: Settings) -> AsyncIterator[Reader]:
    """The ledger of the settings, to be read. Raises SettingsError, LedgerError."""
    from worker import ledger  # noqa: PLC0415
    from worker.clock import WallClock  # noqa: PLC0415

    try:
        reader = await ledger.open_read_only(settings.ledger_url().place, clock=WallClock())
    except ledger.LedgerRefused as error:
        raise SettingsError([str(error)]) from error
    try:
        yield reader
    finally:
        await reader.close()


@asynccontextmanager
async def writing_ledger(settings: Settings) -> AsyncIterator[Store]:
    """The ledger of the settings, to be read and written. Raises SettingsError, LedgerError."""
    from worker import ledger  # noqa: PLC0415
    from worker.clock import WallClock  # noqa: PLC0415

    try:
        store = await ledger.open_beside(settings.ledger_url().place, clock=WallClock())
    except ledger.LedgerRefused as error:
        raise SettingsError([str(error)]) from error
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def broker(settings: Settings, name: str) -> AsyncIterator[Connection]:
    """A connection to the broker of the settings; `name` shows in its list of connections. Raises BrokerError."""
    from worker.rabbit import connect  # noqa: PLC0415
    from worker.wiring import broker_access  # noqa: PLC0415

    connection = await connect(broker_access(settings), name)
    try:
        yield connection
    finally:
        await connection.close()


def operator() -> str:
    """Who gives the command: user and host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = f"user {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def utc(seconds: float) -> str:
    """A time (since 1970) as commands show it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ago(seconds: float) -> str:
    """How long something took or is ago, in its largest unit."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
