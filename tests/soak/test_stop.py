"""SIGTERM at random moments, at full size."""

from __future__ import annotations

from tests.support.broker import Vhost
from tests.support.process import WorkerProcess
from tests.support.stopping import stopped_again_and_again
from worker.sandbox import Server


async def test_two_hundred_stops_at_random_moments_under_load(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> None:
    await stopped_again_and_again(worker, vhost, ditio, 200)
