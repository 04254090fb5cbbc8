"""Planted mistakes: each breaks one rule of the worker in place, and must be found by some history.

`python -m tests.simulation.mutants` plants one after the other and tells how many histories it took to find each.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any
from unittest.mock import patch

import msgspec

from tests.simulation import adapters, world
from tests.simulation.history import history
from worker import calls, lanes, process, reconcile, references, resolve, round, settle
from worker.core import event, plan, record
from worker.core.doubt import Doubt
from worker.core.outcome import Applied, Waiting
from worker.core.stamp import ABSENT, Instant, Stamp
from worker.ledger import memory
from worker.ports import WorkOrder

MOST_SEEDS = 20_000
Mutant = Callable[[], AbstractContextManager[Any]]


def acknowledged_first() -> AbstractContextManager[Any]:
    """Acknowledge, then make durable."""
    settled = settle.Settlement.settle

    async def mutant(self: Any, taken: Any, conclusion: Any) -> Any:
        taken.delivery.ack()
        return await settled(self, taken, conclusion)

    return patch.object(settle.Settlement, "settle", mutant)


def created_without_doubt() -> AbstractContextManager[Any]:
    """POST without a doubt in the ledger."""

    async def mutant(self: Any, round: Any) -> None:
        round.raise_doubt(self._window, self._ledger.now())

    return patch.object(calls.Calls, "_raise_doubt", mutant)


def doubt_forgotten_by_the_ledger() -> AbstractContextManager[Any]:
    """Doubt that does not outlive the process: the ledger does not keep it."""
    load = memory.MemoryLedger.load

    async def mutant(self: Any, key: Any) -> WorkOrder:
        return msgspec.structs.replace(await load(self, key), doubt_until=0.0)

    return patch.object(memory.MemoryLedger, "load", mutant)


def ordered_by_arrival() -> AbstractContextManager[Any]:
    """Stamps that compare when an event came, not when it became true."""

    def mutant(self: Any, first_seen: int, **_: Any) -> Stamp:
        return Stamp(ABSENT, Instant(0), ABSENT, first_seen, self.id, 0)

    return patch.object(event.Event, "stamp", mutant)


def floor_forgotten() -> AbstractContextManager[Any]:
    """`replaced` and `deleted` reset nothing."""
    said = event.said

    def mutant(*given: Any, **named: Any) -> record.Record:
        return msgspec.structs.replace(said(*given, **named), floor=None)

    return patch.object(round, "said", mutant)


def tombstone_forgotten() -> AbstractContextManager[Any]:
    """A deletion says nothing of existence."""
    said = event.said

    def mutant(*given: Any, **named: Any) -> record.Record:
        said_now = said(*given, **named)
        gone = said_now.exists is not None and said_now.exists.value is False
        return msgspec.structs.replace(said_now, exists=None) if gone else said_now

    return patch.object(round, "said", mutant)


def publish_unconfirmed() -> AbstractContextManager[Any]:
    """Waiting messages and letters are published without waiting for the confirm."""

    async def mutant(self: Any, queue: str, message: Any) -> None:
        asyncio.ensure_future(_swallowed(self._publisher.publish(queue, message)))  # noqa: RUF006  the mistake itself

    return patch.object(settle.Settlement, "_publish", mutant)


async def _swallowed(work: Any) -> None:
    try:
        await work
    except Exception:
        logging.getLogger(__name__).debug("swallowed")


def no_lanes() -> AbstractContextManager[Any]:
    """Events of one work order are worked on at once."""

    async def mutant(self: Any, key: Any, item: Any) -> Any:
        return (await self._work(key, [item]))[0]

    return patch.object(lanes.Lanes, "submit", mutant)


def replay_with_old_counters() -> AbstractContextManager[Any]:
    """A replayed letter keeps its counters, and dies of them again."""

    def mutant(message: Any, headers: Any) -> Any:
        return message

    return patch.object(world, "replace_headers", mutant)


def rejected_with_others() -> AbstractContextManager[Any]:
    """When several events are refused together, all count as applied."""
    reconcile_all = reconcile.Reconciler._together

    async def mutant(self: Any, project: Any, key: Any, jobs: Any) -> Any:
        try:
            return await reconcile_all(self, project, key, jobs)
        except reconcile.Culprit:
            return [reconcile.Conclusion(Applied()) for _ in jobs]

    return patch.object(reconcile.Reconciler, "_together", mutant)


def unchanged_in_doubt() -> AbstractContextManager[Any]:
    """While a request may still arrive, what was confirmed counts as standing."""
    trust = round.Round.trust_record

    def mutant(self: Any, *, again: bool) -> None:
        trust(self, again=False)

    return patch.object(round.Round, "trust_record", mutant)


def doubt_ends_without_a_look() -> AbstractContextManager[Any]:
    """When a doubt is over the record is believed again, without a look at Ditio."""
    from worker.core.doubt import doubt

    def mutant(until: float, now: float) -> Doubt:
        state = doubt(until, now)
        return Doubt.NONE if state is Doubt.OVER else state

    return patch.object(round, "doubt", mutant)


def keys_not_compared() -> AbstractContextManager[Any]:
    """A look-up's answer is taken for what was asked for."""
    return patch.object(resolve, "_exactly", lambda tasks, project, external_id: [task for task in tasks if task.get("id")])


def redelivery_without_doubt() -> AbstractContextManager[Any]:
    """A redelivered event is taken for a new one, and no request is noted before it."""
    made = process.Process._job

    def mutant(self: Any, taken: Any) -> Any:
        return msgspec.structs.replace(made(self, taken), redelivered=False)

    return Both(patch.object(process.Process, "_job", mutant), created_without_doubt())


def commit_overwrites() -> AbstractContextManager[Any]:
    """The ledger's commit is no merge: the last writer's record stands."""
    return patch.object(memory, "merge", lambda stored, given: given)


def withheld_forgotten() -> AbstractContextManager[Any]:
    """What could not be resolved is not waited for."""
    kept = round.Round._kept_back

    def mutant(self: Any, index: int) -> Any:
        back = kept(self, index)
        return None if isinstance(back, Waiting) else back

    return patch.object(round.Round, "_kept_back", mutant)


def due_work_forgotten() -> AbstractContextManager[Any]:
    """What is owed to a work order without an event is never done."""
    return patch.object(process.Process, "do_due", lambda self, key: asyncio.sleep(0))


def listing_in_doubt() -> AbstractContextManager[Any]:
    """A listing of a minute ago decides also in doubt."""
    look_up = calls.Calls.look_up

    async def mutant(self: Any, round: Any, *, listed: bool = False, recent: bool = False) -> bool:
        return await look_up(self, round, listed=listed, recent=True)

    return patch.object(calls.Calls, "look_up", mutant)


def rest_after_creation_forgotten() -> AbstractContextManager[Any]:
    """After a POST nothing more is sent, though the template gave what must be cleared."""
    due = round.Round.next_call

    def mutant(self: Any) -> Any:
        return None if "task_create" in self.calls else due(self)

    return patch.object(round.Round, "next_call", mutant)


def cleared_by_null() -> AbstractContextManager[Any]:
    """A text is cleared by a PATCH with null, which means keep."""
    return patch.object(plan, "_patchable", lambda name, value: True)


def confirmed_unseen() -> AbstractContextManager[Any]:
    """What was wanted counts as confirmed, whatever Ditio said."""
    return patch.object(round, "confirmed", lambda merged, want, shown: merged.standing())


def stale_parents() -> AbstractContextManager[Any]:
    """A reference that is not there is looked up no more."""
    return patch.object(references, "_references", lambda event: {})


def write_before_commit_lost() -> AbstractContextManager[Any]:
    """A commit that fails is taken for done."""

    async def mutant(self: Any) -> None:
        await self._steps.pass_by()
        self.failing = 0

    commit = adapters.SimulatedLedger.commit

    async def forgetful(self: Any, order: Any, happened: Any = (), *, paid: bool = False) -> None:
        if self.failing:
            self.failing -= 1
            return
        await commit(self, order, happened, paid=paid)

    return Both(
        patch.object(adapters.SimulatedLedger, "_write", mutant), patch.object(adapters.SimulatedLedger, "commit", forgetful)
    )


class Both(AbstractContextManager[Any]):
    """Two mistakes that only together are one."""

    def __init__(self, *mistakes: AbstractContextManager[Any]) -> None:
        self._mistakes = mistakes

    def __enter__(self) -> None:
        for each in self._mistakes:
            each.__enter__()

    def __exit__(self, *given: object) -> None:
        for each in reversed(self._mistakes):
            each.__exit__(*given)


MUTANTS: Mapping[str, Mutant] = {
    each.__name__: each
    for each in (
        acknowledged_first, created_without_doubt, doubt_forgotten_by_the_ledger, ordered_by_arrival, floor_forgotten,
        tombstone_forgotten, publish_unconfirmed, no_lanes, replay_with_old_counters, rejected_with_others, unchanged_in_doubt,
        doubt_ends_without_a_look, keys_not_compared, redelivery_without_doubt, commit_overwrites, withheld_forgotten,
        due_work_forgotten, listing_in_doubt, rest_after_creation_forgotten, cleared_by_null, confirmed_unseen, stale_parents,
        write_before_commit_lost,
    )
}  # fmt: skip


def found_after(name: str, most: int = MOST_SEEDS) -> tuple[str, int, str]:
    """How many histories it took to find a mutant (0: it was not found), and what was wrong then."""
    logging.disable(logging.CRITICAL)
    with MUTANTS[name]():
        for seed in range(most):
            if wrong := world.play(history(seed)):
                return name, seed + 1, wrong[0]
    return name, 0, "not found"


def main(argv: Sequence[str]) -> int:
    """0 when each is found."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="MUTANT", help="these only")
    parser.add_argument("--most", type=int, default=MOST_SEEDS, help=f"histories for each at most ({MOST_SEEDS})")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args(argv)
    missed = 0
    search = partial(found_after, most=arguments.most)
    with multiprocessing.Pool(arguments.jobs) as pool:
        for name, seeds, wrong in pool.imap_unordered(search, arguments.names or MUTANTS):  # each is told when it is found
            missed += not seeds
            print(f"{name:32} {seeds or '-':>6}  {wrong[:100]}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
