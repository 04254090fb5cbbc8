"""Ten minutes of all that may happen at once, on each RabbitMQ; see tests/support/chaos.py. SOAK_SHARE=0.3 makes them that much shorter."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.broker import Broker, Vhost
from tests.support.chaos import Ground, makes_no_twins, survives
from tests.support.cluster import Cluster
from tests.support.process import WorkerProcess
from worker.sandbox import Server

SECONDS = 600.0 * float(os.environ.get("SOAK_SHARE", "1"))


@pytest.fixture(params=["3.10", "4.0", "cluster"])
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    """A vhost on RabbitMQ 3.10, on 4.0, and on three nodes of 4.0 whose leader is lost every 20 s."""
    if request.param == "cluster":
        cluster: Cluster = request.getfixturevalue("cluster")
        vhost: Vhost = request.getfixturevalue("clustered")
        yield Ground(vhost, cluster.urls(vhost).split(","), cluster)
        return
    broker: Broker = request.getfixturevalue("broker" if request.param == "3.10" else "broker4")
    with broker.vhost() as vhost:
        yield Ground(vhost, (vhost.url,))


async def test_ten_minutes_of_kills_cuts_and_late_requests_under_load(ground: Ground, ditio: Server, tmp_path: Path) -> None:
    toll = await survives(ground, ditio, tmp_path, seconds=SECONDS)
    assert toll.kills > SECONDS / 12


async def test_five_hundred_creations_without_an_answer_or_late_make_no_twins(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    await makes_no_twins(worker, vhost, ditio, 500)
