"""Replays on real RabbitMQ, 3.10 and 4.0, without a worker: what reaches the events, what stays, and what an interruption leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import pytest

from tests.integration.test_dead_letters import TOPOLOGY, access
from tests.ledger.conftest import StoppedClock
from tests.support.broker import Vhost
from tests.support.dead import ODD, bury, dead, numbered
from worker.core.dead_letter import identity_of
from worker.core.decode import Rules, decode
from worker.core.errors import BrokerError
from worker.core.message import Message
from worker.core.replay_order import Chosen
from worker.core.replayed import Run, replayed
from worker.core.selection import Selection
from worker.dead import Desk, opened
from worker.dead import replay as replays
from worker.dead import replay_sending as sending
from worker.dead.replay import Progress, Replay, Result, Terms
from worker.dead.replay_choice import Asked, Reading, choose
from worker.dead.replay_following import Following
from worker.dead.replay_left import Tidied, tidy
from worker.dead.replay_sending import Held, Sender
from worker.ledger import Replaying
from worker.ledger.memory import Contents, MemoryLedger
from worker.rabbit import LockHeld, Publisher
from worker.rabbit.holding import Holding
from worker.topology import Topology

RUN = Run("run-1", "ole@laptop", 1_773_565_200_000_000)
LETTERS = [*(numbered(number) for number in range(40)), *ODD]
BLIND = Terms(rate=0, follow=False)


class Bench:
    """A desk, a publisher and a ledger with which replays are run."""

    def __init__(self, desk: Desk, publisher: Publisher) -> None:
        self.desk = desk
        self.publisher = publisher
        self.clock = StoppedClock()
        self.notes = MemoryLedger(Contents(), api_base="x", company_id="c", clock=self.clock)
        self.following = Following(RUN, self.notes)
        self.stop = asyncio.Event()

    async def chosen(self, selection: Selection = Selection()) -> Sequence[Chosen]:
        """What a replay would take."""
        reading = Reading(partial(decode, rules=Rules(now=1_800_000_000.0)))
        return (await choose(self.desk, Asked(selection), reading, RUN)).chosen

    async def replay(
        self, chosen: Sequence[Chosen], terms: Terms = BLIND, *, events: str = TOPOLOGY.events, tell: list[Progress] | None = None
    ) -> Result:
        """Replays them."""
        sender = Sender(self.publisher, events, self.notes, RUN)
        told = tell if tell is not None else []
        return await Replay(self.desk, sender, self.following, terms, stop=self.stop, tell=told.append).run(chosen)

    async def tidy(self) -> Tidied:
        """Takes out what was left behind."""
        return await tidy(self.desk, self.notes, TOPOLOGY)


@asynccontextmanager
async def bench(vhost: Vhost, letters: Sequence[Message] = LETTERS) -> AsyncIterator[Bench]:
    """A bench before these letters."""
    await bury(vhost.url, letters)
    publisher = Publisher(access(vhost))
    try:
        async with opened(access(vhost), TOPOLOGY, "dead replay") as desk:
            yield Bench(desk, publisher)
    finally:
        await publisher.close()


def ids(vhost: Vhost, queue: str = TOPOLOGY.dead) -> list[str]:
    """The ids of the letters in a queue, or those from which its messages were replayed."""
    return [str(each.headers.get("replayed-from") or identity_of(each)) for each in vhost.messages(queue)]


async def test_what_is_meant_goes_to_the_events_in_order_and_the_rest_stays_in_its_order(any_vhost: Vhost) -> None:
    # Given
    async with bench(any_vhost) as at:
        before = [each.letter.id for each in (await at.desk.look()).seen]
        chosen = await at.chosen(Selection(external_ids=("WO-1*",)))
        # When
        result = await at.replay(chosen)
        # Then
        assert (result.sent, result.stopped, len(chosen)) == (11, "", 11)
        sent = {each.id for each in chosen}
        assert [each.letter.id for each in (await at.desk.look()).seen] == [each for each in before if each not in sent]
        assert await at.notes.replaying() == []
    events = any_vhost.messages(TOPOLOGY.events)
    assert [str(each.headers["replayed-from"]) for each in events] == [each.id for each in chosen]
    assert [each.body for each in events] == [replayed(numbered(int(each.id, 16)), RUN).body for each in chosen]
    assert all(
        not [name for name in each.headers if name.startswith(("x-", "failure-", "letter-")) and name != "x-delivery-count"]
        for each in events
    )


async def test_also_what_nobodys_worker_wrote_is_replayed(any_vhost: Vhost) -> None:
    async with bench(any_vhost, ODD) as at:
        assert (await at.replay(await at.chosen())).sent == len(ODD)
    assert any_vhost.depth(TOPOLOGY.dead) == 0
    assert sorted(each.body for each in any_vhost.messages(TOPOLOGY.events)) == sorted(each.body for each in ODD)


async def test_what_was_published_but_not_taken_out_is_taken_out_by_the_next_command(
    any_vhost: Vhost, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an end between the confirms and the removal
    letters = LETTERS[:40]
    async with bench(any_vhost, letters) as at:
        chosen = (await at.chosen())[:10]

        async def cut(_: Held, ids: Sequence[str]) -> None:
            raise BrokerError("cut")

        with monkeypatch.context() as patched:
            patched.setattr(sending.Held, "remove", cut)
            result = await at.replay(chosen)
        assert (result.stopped, any_vhost.depth(TOPOLOGY.events)) == ("cut", 1)
        # And a note of what was never published
        await at.notes.replay_begins([Replaying(chosen[5].id, "run-1", "/erp/test", "x", 0, at.clock.now())])
        # When
        tidied = await at.tidy()
        # Then the copy is gone, and of the other it is known a little later that it is none
        assert (tidied.removed, [each.letter_id for each in tidied.unsure]) == ([chosen[0].id], [chosen[5].id])
        at.clock.at += 5
        assert await at.tidy() == Tidied([], [])
        assert await at.notes.replaying() == []
    assert sorted(ids(any_vhost)) == sorted({identity_of(each) for each in letters} - {chosen[0].id})
    assert ids(any_vhost, TOPOLOGY.events) == [chosen[0].id]


async def test_a_copy_in_a_wait_queue_or_come_back_or_in_the_history_is_recognised(any_vhost: Vhost) -> None:
    # Given
    waits, back = numbered(1), numbered(2)
    topology = Topology(wait_steps=(60, 600))
    async with bench(any_vhost, [waits, back, numbered(3), dead(replayed(back, RUN), 99)]) as at:
        notes = [Replaying(f"{number:032x}", "run-1", "/erp", f"e-{number}", 0, at.clock.now()) for number in (1, 2, 3)]
        await at.notes.replay_begins(notes)
        channel = await at.desk.place[0].channel()
        for step, name in topology.waits.items():
            arguments = {"x-queue-type": "quorum", "x-message-ttl": step * 1_000}
            await channel.call(channel.raw.queue_declare, queue=name, durable=True, arguments=arguments)
        await at.publisher.publish(topology.waits[600], replayed(waits, RUN))
        # When
        tidied = await tidy(at.desk, at.notes, topology)
    # Then
    assert sorted(tidied.removed) == [f"{1:032x}", f"{2:032x}"]
    assert [each.letter_id for each in tidied.unsure] == [f"{3:032x}"]
    assert any_vhost.depth(topology.waits[600]) == 1


async def test_events_before_a_worker_are_not_looked_at_and_nothing_is_concluded_from_that(vhost: Vhost) -> None:
    # Given a consumer of the events, and an event before it
    async with bench(vhost, [numbered(1), numbered(2)]) as at:
        await at.notes.replay_begins([Replaying(f"{1:032x}", "run-1", "/erp", "e", 0, at.clock.now())])
        channel = await at.desk.place[0].channel()
        await channel.call(channel.raw.basic_qos, prefetch_count=1)
        await channel.call(channel.raw.basic_consume, queue=TOPOLOGY.events, on_message_callback=lambda *_: None)
        for _ in range(3):
            await at.publisher.publish(TOPOLOGY.events, Message(b"other"))
        at.clock.at += 1_000
        # When, Then
        assert [each.letter_id for each in (await at.tidy()).unsure] == [f"{1:032x}"]


async def test_what_no_queue_takes_stays_a_letter(any_vhost: Vhost) -> None:
    async with bench(any_vhost) as at:
        result = await at.replay(await at.chosen(), events="nowhere")
    assert (result.sent, "no queue takes a message" in result.stopped) == (0, True)
    assert any_vhost.depth(TOPOLOGY.dead) == len(LETTERS)


async def test_the_letters_are_given_back_and_taken_anew_while_the_lock_is_held(
    any_vhost: Vhost, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given takings that end at once
    monkeypatch.setattr(replays, "HOLD_S", 0.2)
    takings: list[int] = []
    take = Holding.take

    async def counted(holding: Holding, most: int) -> int:
        takings.append(await take(holding, most))
        return takings[-1]

    monkeypatch.setattr(Holding, "take", counted)
    told: list[Progress] = []
    async with bench(any_vhost) as at:
        chosen = await at.chosen()
        # When more arrive meanwhile, and another operator comes
        replaying = asyncio.ensure_future(at.replay(chosen, Terms(rate=60, follow=False), tell=told))
        await bury(any_vhost.url, [numbered(number) for number in range(500, 510)])
        with pytest.raises(LockHeld, match=r"\(dead replay\)"):
            async with opened(access(any_vhost), TOPOLOGY, "dead list", patience_s=0):
                pass
        result = await replaying
    # Then
    assert (result.sent, result.stopped, result.gone) == (len(chosen), "", [])
    assert len(takings) > 2
    assert ids(any_vhost, TOPOLOGY.events) == [each.id for each in chosen]
    assert ids(any_vhost) == [f"{number:032x}" for number in range(500, 510)]
    assert [each.sent for each in told] == sorted(each.sent for each in told)


async def test_it_stops_when_too_many_come_back_and_does_not_send_those_again(any_vhost: Vhost) -> None:
    # Given letters that come back as soon as they were sent
    letters = [numbered(number) for number in range(40)]
    async with bench(any_vhost, letters) as at:
        chosen = await at.chosen()

        async def worker() -> None:
            back: set[str] = set()
            while len(back) < 4:
                await asyncio.sleep(0.05)
                for each in any_vhost.messages(TOPOLOGY.events):
                    if (origin := str(each.headers["replayed-from"])) not in back:
                        back.add(origin)
                        await bury(any_vhost.url, [dead(each, 1_000 + len(back))])

        failing = asyncio.ensure_future(worker())
        # When
        result = await at.replay(chosen, Terms(rate=20, canary=0, max_failures=3, patience_s=20))
        await failing
    # Then
    assert result.stopped == "4 letters came back, and 3 are allowed (--max-failures)"
    assert {each.id for each in result.back} == {f"{number:032x}" for number in range(1_001, 1_005)}
    assert result.sent < 40
    assert any_vhost.depth(TOPOLOGY.dead) == 40 - result.sent + 4


async def test_letters_beyond_what_may_be_held_go_in_the_next_taking(vhost: Vhost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "MOST_HELD", 8_000)
    async with bench(vhost) as at:
        chosen = await at.chosen()
        assert (await at.replay(chosen)).sent == len(chosen)
    assert ids(vhost, TOPOLOGY.events) == [each.id for each in chosen]
