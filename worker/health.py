"""Is the worker alive, is it ready, and what does it count: three pages over HTTP.

`/livez` follows the event loop's own tick, `/readyz` the named conditions, which others keep true.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

from aiohttp import web

from worker.core.errors import WorkerError

Condition: TypeAlias = Literal["broker", "ledger", "credentials", "paused", "stopping"]

BEFORE_START: Mapping[Condition, str] = MappingProxyType(
    {
        "broker": "not connected yet",
        "ledger": "not opened yet",
        "credentials": "no token was asked for yet",
    }
)
"""What a worker that has just begun lacks."""

TICK_S = 0.5
LONGEST_TICK_S = 30.0
CLOSING_S = 1.0


class ListenError(WorkerError):
    """The address cannot be listened at; the text says why and what to do."""


class Health:
    """The conditions under which events can flow, each met or not for a reason in words; and the loop's last tick."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._causes: dict[Condition, str] = dict(BEFORE_START)
        self._monotonic = monotonic
        self._ticked = monotonic()

    def ok(self, condition: Condition) -> None:
        """The condition is met."""
        self._causes.pop(condition, None)

    def fail(self, condition: Condition, cause: str) -> None:
        """The condition is not met: `cause` is a sentence for a person, without secrets."""
        self._causes[condition] = cause

    @property
    def causes(self) -> Mapping[Condition, str]:
        """Why the worker is not ready, by condition; empty when it is."""
        return MappingProxyType(self._causes)

    @property
    def ready(self) -> bool:
        """Whether every condition is met."""
        return not self._causes

    def tick(self) -> None:
        """The event loop came round."""
        self._ticked = self._monotonic()

    @property
    def silent_s(self) -> float:
        """Seconds since the loop came round."""
        return self._monotonic() - self._ticked


async def beat(health: Health, observe_lag: Callable[[float], None], every: float = TICK_S) -> None:
    """Ticks until cancelled, and observes by how many seconds the loop came back too late each time."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + every
        await asyncio.sleep(every)
        health.tick()
        observe_lag(max(0.0, loop.time() - due))


class HealthServer:
    """The three pages at an address, until closed."""

    def __init__(self, runner: web.AppRunner, host: str, port: int) -> None:
        self._runner = runner
        self.host = host
        self.port = port

    @property
    def url(self) -> str:
        """The address without a path; an IPv6 host in brackets."""
        return f"http://{_shown(self.host, self.port)}"

    async def close(self) -> None:
        """Stops listening; answers under way have a second."""
        await self._runner.cleanup()


async def serve(health: Health, host: str, port: int, render: Callable[[], bytes], content_type: str) -> HealthServer:
    """Listens at host and port (0: any free one; an empty host: every interface) and answers until closed.

    `render` gives the metrics and `content_type` says their format. Raises ListenError.
    """
    runner = web.AppRunner(
        _application(health, render, content_type), access_log=None, handle_signals=False, shutdown_timeout=CLOSING_S
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host or None, port).start()
    except OSError as error:
        await runner.cleanup()
        raise ListenError(_remedy(error, host, port)) from error
    return HealthServer(runner, host or "127.0.0.1", runner.addresses[0][1])


def _application(health: Health, render: Callable[[], bytes], content_type: str) -> web.Application:
    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=render(), headers={"Content-Type": content_type})

    async def livez(_: web.Request) -> web.Response:
        if (silent := health.silent_s) > LONGEST_TICK_S:
            return _page(503, f"the event loop has not come round for {silent:.0f} s")
        return _page(200, "alive")

    async def readyz(_: web.Request) -> web.Response:
        if health.ready:
            return _page(200, "ready")
        return _page(503, "\n".join(f"{condition}: {_line(cause)}" for condition, cause in health.causes.items()))

    application = web.Application()
    application.add_routes([web.get("/metrics", metrics), web.get("/livez", livez), web.get("/readyz", readyz)])
    return application


def _page(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n", headers={"Cache-Control": "no-store"})


def _line(text: str) -> str:
    return " ".join(text.split())


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _remedy(error: OSError, host: str, port: int) -> str:
    where = f"WORKER_HTTP_ADDRESS {_shown(host, port)}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is taken by another program; stop that one, or choose another port"
    if error.errno == errno.EACCES:
        return f"{where} is not allowed to this user; choose a port from 1024 on"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where} is no address of this machine; choose one that is, or 0.0.0.0 for all"
    return f"{where} cannot be listened at: {error.strerror or error}"
