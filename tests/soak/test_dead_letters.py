"""A thousand looks at the dead letters, and a hundred thousand letters, on RabbitMQ 3.10 and 4.0."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from tests.integration.test_dead_letters import LETTERS, TOPOLOGY, access, bare, everything
from tests.support.broker import Vhost
from tests.support.dead import bury, numbered
from tests.support.process import ROOT
from worker.core.dead_letter import read
from worker.core.selection import Selection
from worker.dead import opened

LOOKS = 1_000
MANY = 100_000
MOST_S, MOST_BYTES = 15.0, 300_000_000
FEW, FEW_S = 10_000, 2.0


async def test_a_thousand_lists_and_shows_leave_order_bytes_headers_and_count(any_vhost: Vhost) -> None:
    # Given
    await bury(any_vhost.url, LETTERS)
    shown = read(LETTERS[17]).id
    # When
    for number in range(LOOKS):
        async with opened(access(any_vhost), TOPOLOGY, "soak", patience_s=60) as desk:
            look = await desk.look(Selection(ids=(shown,)) if number % 2 else Selection())
            assert look.total == len(LETTERS)
    # Then
    async with opened(access(any_vhost), TOPOLOGY, "soak", patience_s=60) as desk:
        assert await everything(desk) == [bare(each) for each in LETTERS]


async def test_a_thousand_looks_while_letters_arrive_leave_set_and_bytes(any_vhost: Vhost) -> None:
    # Given
    await bury(any_vhost.url, LETTERS)
    more = [numbered(number) for number in range(10_000, 12_000)]
    looking = True

    async def arrive() -> None:
        for start in range(0, len(more), 10):
            await bury(any_vhost.url, more[start : start + 10])
            await asyncio.sleep(0 if not looking else 0.05)

    # When
    arriving = asyncio.ensure_future(arrive())
    async with opened(access(any_vhost), TOPOLOGY, "soak") as desk:
        for _ in range(LOOKS):
            await desk.look(most_bodies=0)
        looking = False
        await arriving
        after = await everything(desk)
    # Then
    assert sorted(after, key=repr) == sorted((bare(each) for each in (*LETTERS, *more)), key=repr)


async def test_a_hundred_thousand_letters_are_listed_within_the_bounds(any_vhost: Vhost, tmp_path: Path) -> None:
    for count, within_s in ((FEW, FEW_S), (MANY, MOST_S)):
        have = any_vhost.depth(TOPOLOGY.dead) if count != FEW else 0
        for start in range(have, count, 5_000):
            await bury(any_vhost.url, [numbered(number) for number in range(start, min(start + 5_000, count))])
        for words in (("dead", "list"), ("dead", "list", "--each")):
            environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "AMQP_URL": any_vhost.url}
            began = time.monotonic()
            done = await asyncio.to_thread(
                subprocess.run, [sys.executable, "-m", "worker", *words], env=environment, cwd=ROOT, capture_output=True
            )
            took = time.monotonic() - began
            assert done.returncode == 0, done.stderr
            memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
            print(f"{' '.join(words)}: {count} letters in {took:.1f} s, at most {memory / 1e6:.0f} MB")
            assert memory < MOST_BYTES
            assert took < within_s or words[-1] == "--each"
