"""The sandbox over HTTP. Requests do not wait for each other: a delayed reply delays nobody else's."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from worker.sandbox.admin import PREFIX, administer
from worker.sandbox.message import Reply, Request
from worker.sandbox.options import Options
from worker.sandbox.sandbox import Sandbox
from worker.sandbox.state import State

TICK_S = 0.05


class Server:
    """A sandbox that listens until it is closed."""

    def __init__(self, sandbox: Sandbox, runner: web.ServerRunner, host: str, state_file: Path | None) -> None:
        self.sandbox = sandbox
        self._runner = runner
        self._state_file = state_file
        self._saved = sandbox.changes
        self._ticking = asyncio.ensure_future(self._tick())
        self.identity_url = f"http://{host}:{runner.addresses[0][1]}"

    @property
    def url(self) -> str:
        """The API base."""
        return f"{self.identity_url}/core"

    async def close(self) -> None:
        """Stops listening, and saves the state."""
        self._ticking.cancel()
        with suppress(asyncio.CancelledError):
            await self._ticking
        await self._runner.cleanup()
        self._save()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.sandbox.settle_late()
            self._save()

    def _save(self) -> None:
        if self._state_file is None or self._saved == self.sandbox.changes:
            return
        self._saved = self.sandbox.changes
        unfinished = self._state_file.with_name(f"{self._state_file.name}.unfinished")
        unfinished.write_text(json.dumps(self.sandbox.state.dumped(), ensure_ascii=False))
        unfinished.replace(self._state_file)


async def serve(
    options: Options | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    state_file: Path | None = None,
    clock: Callable[[], float] = time.time,
) -> Server:
    """Listens at host and port (0: any free one). `state_file` is loaded if it is there, and kept. Raises OSError, ValueError."""
    sandbox = Sandbox(options or Options(), clock, _kept(state_file))
    runner = web.ServerRunner(web.Server(_handler(sandbox), access_log=None), handle_signals=False, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return Server(sandbox, runner, host, state_file)


def _kept(state_file: Path | None) -> State:
    return State.loaded(json.loads(state_file.read_text())) if state_file and state_file.exists() else State()


def _handler(sandbox: Sandbox) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    async def handle(raw: web.BaseRequest) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in raw.headers.items()}
        request = Request(raw.method, raw.raw_path, headers, await raw.content.read())
        reply = administer(sandbox, request) if request.path.startswith(PREFIX) else sandbox.handle(request)
        if reply.delay_s:
            await asyncio.sleep(reply.delay_s)
        return _response(raw, reply)

    return handle


def _response(raw: web.BaseRequest, reply: Reply) -> web.StreamResponse:
    if reply.drop:
        if raw.transport is not None:
            raw.transport.abort()
        return web.Response(status=500)
    return web.Response(status=reply.status, body=reply.body, headers=reply.headers)
