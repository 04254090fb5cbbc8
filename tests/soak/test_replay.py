"""A replay of 1,000 letters that is killed 50 times, in every gap and at random moments."""

from __future__ import annotations

import random

from tests.support.broker import Vhost
from tests.support.killed import Killed, killed
from tests.support.killing import GAPS
from tests.support.process import WorkerProcess
from worker.sandbox import Server


async def test_a_thousand_letters_survive_fifty_kills_of_their_replay(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    cuts = [*(GAPS * 7), *["random"] * 29]
    chance.shuffle(cuts)
    story = Killed(vhost, ditio, worker, 1_000, chance)
    await killed(story, cuts)
    assert sum(story.cuts.values()) >= 40, story.cuts
