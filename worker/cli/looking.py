"""What can be seen of a worker from beside it: its ledger, its broker, its pages. Each may be missing; that is then said."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from worker.cli.opening import ago, broker, reading_ledger, utc
from worker.config import PostgresUrl, Settings, SettingsError, SqliteUrl
from worker.core.errors import BrokerError, LedgerError

if TYPE_CHECKING:
    from worker.ledger import Pause, Reader, Run, Unsettled
    from worker.ports import Happened, Key

LOOP_S = 600.0
"""Over how long crashes are counted."""

LOOPING = 3
"""So many crashes within that are a loop."""

RATES_MIN = (1, 5, 15)
CIRCUIT = ("closed", "half-open", "open")


@dataclass(frozen=True)
class LedgerSeen:
    """What the ledger says. `size` is of one in a file; `per_minute` is by the minutes that it is the average of."""

    path: str
    size: int | None
    work_orders: int
    doubts: int
    pause: Pause | None
    last: tuple[Key, Happened] | None
    per_minute: Mapping[int, float]
    unsettled: Unsettled
    runs: Sequence[Run]


@dataclass(frozen=True)
class PagesSeen:
    """What the worker's own pages say."""

    ready: bool
    causes: Sequence[str]
    circuit: str
    paused: Sequence[str]


@dataclass
class Seen:
    """All that could be seen, and in `unseen` why the rest could not."""

    ledger: LedgerSeen | None = None
    depths: Mapping[str, int] | None = None
    pages: PagesSeen | None = None
    unseen: dict[str, str] = field(default_factory=dict)


async def look(settings: Settings) -> Seen:
    """Looks everywhere. Raises nothing for what cannot be seen."""
    seen = Seen()
    try:
        async with reading_ledger(settings) as reader:
            seen.ledger = await _ledger(reader, settings.ledger_url())
    except (SettingsError, LedgerError) as error:
        seen.unseen["ledger"] = str(error)
    try:
        seen.depths = await _depths(settings)
    except BrokerError as error:
        seen.unseen["broker"] = str(error)
    seen.pages = await _pages(settings)
    return seen


async def _ledger(reader: Reader, url: SqliteUrl | PostgresUrl) -> LedgerSeen:
    now = time.time()
    counts = {minutes: await reader.outcomes(int((now - minutes * 60) * 1_000_000)) for minutes in RATES_MIN}
    return LedgerSeen(
        url.shown,
        _size(url.place) if isinstance(url.place, Path) else None,
        await reader.work_orders(),
        await reader.doubts(),
        await reader.paused(),
        await reader.last_event(),
        {minutes: sum(count.values()) / minutes for minutes, count in counts.items()},
        await reader.unsettled(),
        await reader.runs(now - LOOP_S),
    )


def _size(path: Path) -> int:
    beside = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in beside if file.exists())


async def _depths(settings: Settings) -> Mapping[str, int]:
    from worker.rabbit import depth  # noqa: PLC0415
    from worker.wiring import topology_of  # noqa: PLC0415

    topology = topology_of(settings)
    async with broker(settings, "status") as connection:
        return {queue.name: (await depth(connection, queue.name))[0] for queue in topology.queues}


async def _pages(settings: Settings) -> PagesSeen | None:
    """What the worker says of itself, if one answers at WORKER_HTTP_ADDRESS."""
    import httpx  # noqa: PLC0415

    try:
        async with httpx.AsyncClient(base_url=pages_url(settings), timeout=3, trust_env=False) as client:
            ready = await client.get("/readyz")
            metrics = await client.get("/metrics")
    except (httpx.HTTPError, httpx.InvalidURL):
        return None
    if ready.status_code not in (200, 503) or "ditio_worker_" not in metrics.text:
        return None
    causes = [] if ready.status_code == 200 else ready.text.splitlines()
    return PagesSeen(ready.status_code == 200, causes, *_metrics(metrics.text))


def pages_url(settings: Settings) -> str:
    """Where the worker's pages are, seen from this machine."""
    host = settings.worker_http_address.host
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  what a worker listens at
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.worker_http_address.port}"


def _metrics(text: str) -> tuple[str, Sequence[str]]:
    """The state of the circuit, and the causes of pauses in force."""
    circuit = re.search(r"^ditio_worker_circuit_state (\d)", text, re.MULTILINE)
    paused = re.findall(r'^ditio_worker_paused\{cause="([\w-]+)"\} 1', text, re.MULTILINE)
    return CIRCUIT[min(int(circuit[1]), 2)] if circuit else "unknown", paused


def state(seen: Seen, holder: tuple[int, str] | None, now: float) -> tuple[str, str]:
    """What the worker does, in a word and a sentence. `holder` is the last process that had the ledger, and its host."""
    runs = seen.ledger.runs if seen.ledger else ()
    up = seen.pages is not None or (bool(runs) and runs[0].ended is None and _alive(holder))
    word, sentence = _alone(seen, runs, up, holder, now)
    crashed = sum(run.ended is None for run in (runs[1:] if up else runs) if run.started >= now - LOOP_S)
    if crashed >= LOOPING:
        return "crash-looping", f"{sentence}; {crashed} starts in the last {ago(LOOP_S)} did not end in order"
    return word, sentence


def _alone(seen: Seen, runs: Sequence[Run], up: bool, holder: tuple[int, str] | None, now: float) -> tuple[str, str]:
    """The same without those before it."""
    since = f"since {utc(runs[0].started)}" if runs else "with another ledger than this"
    match seen.pages:
        case PagesSeen(ready=True):
            return "running", f"running and ready, {since}"
        case PagesSeen(causes=causes):
            return "not ready", f"running {since}, not ready: {'; '.join(causes)}"
    if up and holder is not None:
        return "running", f"process {holder[0]} runs {since}, but no worker answers at WORKER_HTTP_ADDRESS"
    if not runs:
        return "unknown", "no worker answers at WORKER_HTTP_ADDRESS, and the ledger tells of none"
    if runs[0].ended is None:
        return "crashed", f"not running; the last one began {ago(now - runs[0].started)} ago and did not end in order"
    return "stopped", f"stopped {ago(now - runs[0].ended)} ago"


def _alive(holder: tuple[int, str] | None) -> bool:
    """Whether the process is there, as far as this machine can tell."""
    if holder is None or holder[1] != socket.gethostname():
        return False
    try:
        os.kill(holder[0], 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
