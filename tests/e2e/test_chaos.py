"""A worker that is killed every few seconds, cut off from both sides, with requests that take effect late: nothing is lost or doubled."""

from __future__ import annotations

from pathlib import Path

from tests.support.broker import Vhost
from tests.support.chaos import Ground, makes_no_twins, survives
from tests.support.process import WorkerProcess
from worker.sandbox import Server

KILLS = 20


async def test_killed_and_cut_off_under_load_it_loses_nothing_doubles_nothing_and_condemns_nobody(
    vhost: Vhost, ditio: Server, tmp_path: Path
) -> None:
    toll = await survives(Ground(vhost, (vhost.url,)), ditio, tmp_path, seconds=66, kill_every_s=(2.0, 3.8))
    assert toll.kills >= KILLS


async def test_creations_without_an_answer_and_creations_that_come_late_make_no_twins(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    await makes_no_twins(worker, vhost, ditio, 40)
