"""pika's connection, with what it lacks: to stop reading for a while without being taken for dead, and to be let go of at once.

Sources: pika's `AbstractIOServices` (whoever opens a connection may bring them), `HeartbeatChecker` and `Connection`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection, _AsyncioIOServicesAdapter
from pika.heartbeat import HeartbeatChecker


class Tap(_AsyncioIOServicesAdapter):  # type: ignore[misc]  # pika has no types
    """The event loop as one connection sees it: while shut, nothing is read, whatever is asked for meanwhile."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._readers: dict[int, Callable[[], None]] = {}
        self.is_shut = False

    def set_reader(self, fd: int, on_readable: Callable[[], None]) -> None:
        """Calls back when there is something to read, as long as the tap is open."""
        self._readers[fd] = on_readable
        if not self.is_shut:
            super().set_reader(fd, on_readable)

    def remove_reader(self, fd: int) -> bool:
        """Calls back no more."""
        self._readers.pop(fd, None)
        return bool(super().remove_reader(fd))

    def shut(self) -> None:
        """Leaves what comes to the kernel, which makes the peer stop sending."""
        self.is_shut = True
        for fd in self._readers:
            super().remove_reader(fd)

    def open(self) -> None:
        """Reads again."""
        self.is_shut = False
        for fd, on_readable in self._readers.items():
            super().set_reader(fd, on_readable)


class Heartbeats(HeartbeatChecker):  # type: ignore[misc]  # pika has no types
    """Sends heartbeats always, and holds the peer's silence against it only when somebody listened."""

    def __init__(self, connection: Wire, timeout: int) -> None:
        self._excused = False
        super().__init__(connection, timeout)

    def excuse(self) -> None:
        """The silence of this interval proves nothing."""
        self._excused = True

    @property
    def _has_received_data(self) -> bool:
        excused, self._excused = self._excused or self._connection.paused, False
        return excused or bool(super()._has_received_data)


class Wire(AsyncioConnection):  # type: ignore[misc]  # pika has no types
    """A connection of pika's on the running event loop.

    `pauses` counts how often reading was stopped. `blocked` says why the broker takes no messages on it, and is empty when it does;
    `free` is set then.
    """

    def __init__(
        self,
        parameters: pika.ConnectionParameters,
        on_open: Callable[[Wire], None],
        on_open_error: Callable[[Wire, object], None],
    ) -> None:
        self._tap = Tap(asyncio.get_running_loop())
        self.pauses = 0
        self.blocked = ""
        self.free = asyncio.Event()
        self.free.set()
        super().__init__(parameters, on_open_callback=on_open, on_open_error_callback=on_open_error, custom_ioloop=self._tap)
        self.add_on_connection_blocked_callback(self._on_blocked)
        self.add_on_connection_unblocked_callback(self._on_unblocked)

    @property
    def paused(self) -> bool:
        """Whether it is not read."""
        return self._tap.is_shut

    def pause(self) -> None:
        """Reads no more until `resume`. What is written still goes out, heartbeats too."""
        if not self.paused:
            self.pauses += 1
            self._tap.shut()

    def resume(self) -> None:
        """Reads again."""
        if self.paused:
            if self._heartbeat_checker is not None:
                self._heartbeat_checker.excuse()
            self._tap.open()

    def abort(self, error: Exception) -> None:
        """Gives it up at once, without a farewell that nobody would answer; whoever uses it is told this error."""
        if not self.is_closed and (self._transport is not None or not self._opened):
            self._terminate_stream(error)

    def _on_blocked(self, _: Wire, frame: Any) -> None:
        self.blocked = str(frame.method.reason) or "it gave no reason"
        self.free.clear()

    def _on_unblocked(self, _: Wire, __: Any) -> None:
        self.blocked = ""
        self.free.set()

    def _create_heartbeat_checker(self) -> Any:
        return Heartbeats(self, self.params.heartbeat) if self.params.heartbeat else None
