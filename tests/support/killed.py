"""A replay that is killed again and again beside a worker, and what must be true after each kill and at the end."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.test_commands import run
from tests.support.broker import Vhost
from tests.support.dead import bury, dead
from tests.support.killing import GAPS, words
from tests.support.process import ROOT, WorkerProcess
from tests.support.publishing import event
from tests.support.waiting import eventually
from worker import ledger
from worker.clock import WallClock
from worker.core.message import Message
from worker.sandbox import Server

QUEUES = ("workorders.events", "workorders.wait.1s", "workorders.wait.2s")
HOPELESS = 20
"""Every so manieth letter is an event that comes back."""

FILTER = ("--reason", "unresolved-project")


class Killed:
    """`letters` dead letters beside a running worker. All but every twentieth come through when they are replayed."""

    def __init__(self, vhost: Vhost, ditio: Server, worker: WorkerProcess, letters: int, chance: random.Random) -> None:
        self._vhost = vhost
        self._ditio = ditio
        self._worker = worker
        self._chance = chance
        self._events = {f"e-{number}": number for number in range(letters)}
        self.cuts: Counter[str] = Counter()

    async def prepare(self) -> None:
        """Starts the worker, and buries the letters."""
        self._worker.start()
        await self._worker.ready()
        await bury(self._vhost.url, [self._letter(event_id, number) for event_id, number in self._events.items()])

    def _letter(self, event_id: str, number: int) -> Message:
        price = "abc" if number % HOPELESS == 0 else float(number + 1)
        return dead(event("updated", f"WO-{number}", id=event_id, name=f"Arbeid {number}", price=price), number)

    async def kill(self, gap: str) -> None:
        """Lets a replay run until it is killed in a gap, or at a random moment; then looks that every letter is in one place."""
        crash = {"CRASH_AT": f"{gap}:{self._chance.randrange(1, 6)}"} if gap in GAPS else {}
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._worker.folder), "PYTHONPATH": str(ROOT)}
        environment |= {**self._worker._settings, **crash}
        command = [sys.executable, *words(*FILTER, "--canary", "0", "--rate", "60")]
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            if gap not in GAPS:
                await asyncio.sleep(self._chance.uniform(0.8, 3.0))  # the moment of a random kill, not a wait for anything
                process.kill()
            status = await asyncio.to_thread(process.wait, 60)
        finally:
            process.kill()
        self.cuts[gap] += status == -signal.SIGKILL
        await self.rest()
        await self._one_place_each()

    async def rest(self) -> None:
        """Returns when the worker has nothing in hand and nothing before it."""
        await eventually(
            lambda: (
                self._vhost.depth(*QUEUES) == 0
                and self._worker.metric("in_flight") == 0
                and self._worker.metric("lanes") == 0
                and self._vhost.depth(*QUEUES) == 0
            ),
            60,
        )

    async def _one_place_each(self) -> None:
        """The next command shows each event that did not come through, once, and no other."""
        status, out, err = await run(self._worker, "dead", "list", "--each", "--format", "json")
        assert status in (0, 3), err
        listed = Counter(each["event_id"] for each in json.loads(out))
        assert max(listed.values()) == 1, listed.most_common(5)
        through = await self._through()
        assert set(listed) | through == set(self._events), "lost"
        assert set(listed) & through == set(), "in two places"

    async def _through(self) -> set[str]:
        reader = await ledger.open_read_only(Path(self._worker.folder) / "ledger.db", clock=WallClock())
        try:
            return {each.event_id for each in await reader.ended(0, 1_000_000) if each.outcome in ("applied", "unchanged")}
        finally:
            await reader.close()

    async def finish(self) -> None:
        """Replays what is left, undisturbed, until nothing is; then all tasks are right, and only what is hopeless is a letter."""
        for _ in range(5):
            status, _, err = await run(self._worker, *words(*FILTER, "--rate", "0", "--canary", "0", "--max-failures", "999")[2:])
            assert status in (0, 1, 3), err
            if status == 3:
                break
        await self.rest()
        await self._one_place_each()
        hopeless = {event_id for event_id, number in self._events.items() if number % HOPELESS == 0}
        letters = self._vhost.messages("workorders.dead")
        assert Counter(str(each.headers["event-id"]) for each in letters) == Counter(hopeless)
        tasks = {task["externalId"]: task for task in self._ditio.sandbox.state.tasks.values()}
        assert len(tasks) == len(self._ditio.sandbox.state.tasks), "twins"
        right = {f"WO-{number}": number + 1.0 for event_id, number in self._events.items() if event_id not in hopeless}
        assert {name: task["price"] for name, task in tasks.items()} == right
        await self._nothing_noted()

    async def _nothing_noted(self) -> None:
        reader = await ledger.open_read_only(Path(self._worker.folder) / "ledger.db", clock=WallClock())
        try:
            assert await reader.replaying() == []
        finally:
            await reader.close()


async def killed(killed: Killed, cuts: Sequence[str]) -> None:
    """All of it: so many kills, and the end."""
    await killed.prepare()
    for gap in cuts:
        await killed.kill(gap)
    await killed.finish()
