"""Workers that come, go and are killed share a budget of requests per second, which Ditio's side counts."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.support.broker import Vhost
from tests.support.postgres import Database
from tests.support.process import WorkerProcess, settings
from tests.support.publishing import event, publish_all
from worker.sandbox import Server

PER_S = 40
EVENTS = 600
MEASURED_S = 2.0


async def test_one_two_and_four_workers_keep_to_one_budget_and_use_it_and_a_killed_ones_share_comes_back(
    vhost: Vhost, ditio: Server, postgres: Database, tmp_path: Path
) -> None:
    # Given
    workers = []
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).mkdir()
        more = {"LEDGER_URL": postgres.url, "DITIO_MAX_REQUESTS_PER_S": str(PER_S), "WORKER_PREFETCH": "32"}
        workers.append(WorkerProcess(settings(vhost.url, ditio, tmp_path, **more), tmp_path / name))
    await publish_all(vhost.url, [event("created", f"WO-{number}", project="P-2026-001") for number in range(EVENTS)])
    rates: dict[str, float] = {}
    try:
        # When
        for phase, starting in (("one", workers[:1]), ("two", workers[1:2]), ("four", workers[2:])):
            for worker in starting:
                worker.start()
            await asyncio.gather(*(worker.ready() for worker in starting))
            rates[phase] = await rate(ditio)
        workers[1].kill()
        workers[2].kill()
        await asyncio.sleep(2.0)  # the time that is promised
        rates["two were killed"] = await rate(ditio)
        await asyncio.to_thread(workers[3].stop)
        await asyncio.sleep(2.0)
        rates["one ended"] = await rate(ditio)
        # Then
        print(rates, busiest(ditio))
        assert vhost.depth("workorders.events") > 0, "the broker was never empty, or nothing was limited"
        assert all(each == pytest.approx(PER_S, rel=0.2) for each in rates.values()), rates
        # And no second saw more than the budget, and what was on its way
        assert busiest(ditio) <= PER_S + 2 * len(workers)
    finally:
        for worker in workers:
            worker.kill()


async def rate(ditio: Server) -> float:
    """Requests per second, over the next while."""
    before, began = len(moments(ditio)), time.monotonic()
    await asyncio.sleep(MEASURED_S)
    return (len(moments(ditio)) - before) / (time.monotonic() - began)


def moments(ditio: Server) -> list[float]:
    """When requests came that count."""
    return [line["at"] for line in ditio.sandbox.log if line["operation"] != "token" and not line["late"]]


def busiest(ditio: Server) -> int:
    """The most requests that came within a second."""
    at = moments(ditio)
    return max(sum(start <= each < start + 1 for each in at) for start in at)
