"""A Ditio for benchmarks: as lean as Python allows, and as slow as it is told to be. `python -m tests.bench.server [SECONDS]`

It keeps no rule of Ditio's (that is the sandbox's part), but every name that was written, and when, so that it can be told
whether each event was really applied. Its address is the first line of its output.

    GET /_count     so many tasks were written to         GET /_written   the names as they are now, by externalId
    GET /_times     when each was answered, in seconds    GET /_reset     counts from 0 again
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from typing import cast

import msgspec
import uvloop

PROJECT = {"id": "p-1", "projectNumber": "P-2026-001", "companyId": "c-1", "name": "Bench"}
HOME = {"projectId": PROJECT["id"], "companyId": PROJECT["companyId"]}
TOKEN = {"access_token": "bench", "expires_in": 86_400}
encode, decode = msgspec.json.encode, msgspec.json.decode


class Ditio:
    """What was written."""

    def __init__(self, latency_s: float) -> None:
        self.latency_s = latency_s
        self.tasks: dict[str, dict[str, object]] = {}
        self.reset()

    def reset(self) -> None:
        """Counts from 0 again."""
        self.counts: Counter[str] = Counter()
        self.times: list[float] = []

    def answer(self, method: str, path: str, body: bytes) -> tuple[object, float]:
        """What is answered, and after how many seconds."""
        parts = path.strip("/").split("/")
        if method == "PATCH" or (method == "POST" and parts[-1] == "tasks"):
            return self._write(method, parts[-1].removeprefix("t-"), decode(body)), self.latency_s
        if parts[-1].startswith("_"):
            return self._told(parts[-1]), 0.0
        if parts[-1] == "token":
            return TOKEN, 0.0
        if "tasks" not in parts:
            return [PROJECT], self.latency_s
        self.counts["look-up"] += 1
        return self._found(parts), self.latency_s

    def _told(self, what: str) -> object:
        match what:
            case "_count":
                return len(self.times)
            case "_counts":
                return self.counts
            case "_times":
                return self.times
            case "_written":
                return {external_id: task.get("name") for external_id, task in self.tasks.items()}
            case _:
                self.reset()
                return None

    def _found(self, parts: list[str]) -> object:
        match parts:
            case [*_, external_id, "list"]:
                return [self.tasks[external_id]] if external_id in self.tasks else []
            case [*_, "tasks", "project", _]:
                return list(self.tasks.values())
            case _:
                return self.tasks[parts[-1].removeprefix("t-")]

    def _write(self, method: str, external_id: str, values: dict[str, object]) -> object:
        external_id = str(values.get("externalId", external_id))
        task = self.tasks.setdefault(external_id, {"id": f"t-{external_id}", "externalId": external_id, **HOME})
        task |= values
        self.counts[method] += 1
        self.times.append(time.monotonic())
        return task


class Connection(asyncio.Protocol):
    """One after the other on a connection, as HTTP/1.1 clients without pipelining ask."""

    def __init__(self, ditio: Ditio) -> None:
        self._ditio = ditio
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is none of asyncio's classes

    def data_received(self, data: bytes) -> None:
        """A part of a request, or all of it."""
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        lower = head.lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if not found or len(body) < length:
            return
        self._data = b""
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        answer, after_s = self._ditio.answer(method, path.split("?")[0], body)
        sent = encode(answer)
        whole = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(sent), sent)
        if after_s:
            asyncio.get_running_loop().call_later(after_s, self._send, whole)
        else:
            self._send(whole)

    def _send(self, whole: bytes) -> None:
        if not self._transport.is_closing():  # who asked may have been stopped meanwhile
            self._transport.write(whole)


async def main(latency_s: float) -> None:
    """Serves until its standard input ends."""
    ditio, loop = Ditio(latency_s), asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(ditio), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.02))
