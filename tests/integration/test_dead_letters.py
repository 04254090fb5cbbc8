"""The desk at the dead letters on real RabbitMQ, 3.10 and 4.0: looking changes nothing, taking out takes out nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tests.support.broker import Vhost
from tests.support.dead import ODD, bury, numbered
from tests.support.waiting import eventually
from worker.core.errors import BrokerError
from worker.core.message import Message
from worker.core.selection import Selection
from worker.dead import Desk, opened
from worker.rabbit import Access, Browse, LockHeld, TooMany, connect, declare, depth
from worker.topology import Topology

TOPOLOGY = Topology(wait_steps=(1, 2))
LETTERS = (*(numbered(number) for number in range(300)), *ODD)


def access(vhost: Vhost) -> Access:
    """The broker of a test."""
    return Access(lambda: (vhost.url,))


async def everything(desk: Desk) -> Sequence[Message]:
    """All letters as plain values, as they lie there; what the broker adds is left out."""
    look = await desk.look()
    assert all(each.message for each in look.seen)
    return [bare(each.message) for each in look.seen if each.message]


def bare(message: Message) -> Message:
    """A message without what the way to the reader adds."""
    headers = {name: value for name, value in message.headers.items() if not name.startswith("x-delivery")}
    return Message(message.body, headers, {"delivery_mode": 2, **message.properties})


async def test_many_looks_leave_order_bytes_headers_and_count_as_they_were(any_vhost: Vhost) -> None:
    # Given
    await bury(any_vhost.url, LETTERS)
    # When
    async with opened(access(any_vhost), TOPOLOGY, "test") as desk:
        for _ in range(20):
            look = await desk.look(Selection(reasons=("unresolved-project",)))
            assert (look.total, len(look.seen)) == (304, 300)
        after = await everything(desk)
    # Then
    assert after == [bare(each) for each in LETTERS]
    await eventually(lambda: any_vhost.depth(TOPOLOGY.dead) == len(LETTERS))


async def test_looks_while_letters_arrive_lose_none_and_change_no_byte(any_vhost: Vhost) -> None:
    # Given
    await bury(any_vhost.url, LETTERS)
    more = [numbered(number) for number in range(1_000, 1_400)]
    # When
    async with opened(access(any_vhost), TOPOLOGY, "test") as desk:
        arriving = asyncio.ensure_future(bury(any_vhost.url, more))
        while not arriving.done():
            assert (await desk.look()).total >= len(LETTERS)
        await arriving
        after = await everything(desk)
    # Then
    assert sorted(after, key=repr) == sorted((bare(each) for each in (*LETTERS, *more)), key=repr)


@pytest.mark.parametrize("apart", [False, True])
async def test_more_than_one_prefetch_is_given_back_in_order(any_vhost: Vhost, apart: bool) -> None:
    # Given
    await bury(any_vhost.url, LETTERS)
    connection = await connect(access(any_vhost), "test")
    # When
    orders = []
    for prefetch in (13, 100, 304, 13, 60):
        bodies: list[bytes] = []

        def visit(_: int, message: Message, to: list[bytes] = bodies) -> None:
            to.append(message.body)

        browse = Browse(connection, TOPOLOGY.dead, visit, prefetch=prefetch, apart=apart)
        assert await browse.take(1_000) == len(LETTERS)
        await browse.close()
        orders.append(bodies)
    await connection.close()
    # Then
    assert all(order == [each.body for each in LETTERS] for order in orders)


async def test_removing_takes_those_and_leaves_the_others_in_their_order(any_vhost: Vhost) -> None:
    # Given
    await bury(any_vhost.url, LETTERS)
    async with opened(access(any_vhost), TOPOLOGY, "test") as desk:
        ids = [each.letter.id for each in (await desk.look()).seen]
        assert len(set(ids)) == len(LETTERS)
        chosen = ids[1::3]
        # When
        removed = await desk.remove({*chosen, "nobody"})
        # Then
        assert removed == chosen
        assert [each.letter.id for each in (await desk.look()).seen] == [each for each in ids if each not in chosen]
        assert await desk.remove(set(chosen)) == []


async def test_a_second_operator_is_told_who_holds_the_letters_and_since_when(any_vhost: Vhost) -> None:
    async with opened(access(any_vhost), TOPOLOGY, "dead replay"):
        # When, Then
        with pytest.raises(
            LockHeld, match=r"^workorders\.dead\.lock is held by \S+@\S+ since 20..-..-..T..:..:..Z \(dead replay\)$"
        ):
            async with opened(access(any_vhost), TOPOLOGY, "dead list", patience_s=0):
                pass
    # And it is free when the first has gone, and nothing of it stays
    async with opened(access(any_vhost), TOPOLOGY, "dead list"):
        pass
    exchanges = [each["name"] for each in any_vhost.ask("GET", f"exchanges/{any_vhost.name}?columns=name")]
    assert TOPOLOGY.dead_lock not in exchanges


async def test_a_holder_who_left_no_note_is_told_as_such_and_a_note_left_behind_is_replaced(any_vhost: Vhost) -> None:
    # Given a note that lost its owner
    connection = await connect(access(any_vhost), "test")
    channel = await connection.channel()
    stale = {"alternate-exchange": "workorders.dead.lock nobody"}
    name, kind = TOPOLOGY.dead_lock, "fanout"
    await channel.call(channel.raw.exchange_declare, exchange=name, exchange_type=kind, auto_delete=True, arguments=stale)
    # When, Then
    async with opened(access(any_vhost), TOPOLOGY, "first"):
        with pytest.raises(LockHeld, match=r"\(first\)"):
            async with opened(access(any_vhost), TOPOLOGY, "second", patience_s=0):
                pass
    # And given an owner without a note
    await channel.call(channel.raw.queue_declare, queue=name, exclusive=True)
    with pytest.raises(LockHeld, match="another process, which left no note"):
        async with opened(access(any_vhost), TOPOLOGY, "second", patience_s=0):
            pass
    await connection.close()


async def test_too_many_letters_are_refused_politely_and_not_touched(vhost: Vhost) -> None:
    await bury(vhost.url, LETTERS)
    async with opened(access(vhost), TOPOLOGY, "test", most=200) as desk:
        with pytest.raises(TooMany, match="holds 304 messages, and at most 200"):
            await desk.look()
        with pytest.raises(TooMany):
            await desk.remove({"x"})
    assert all(not each.redelivered for each in vhost.messages(TOPOLOGY.dead)[:10])


async def test_bodies_beyond_the_bound_are_dropped_and_counted(vhost: Vhost) -> None:
    await bury(vhost.url, LETTERS)
    async with opened(access(vhost), TOPOLOGY, "test") as desk:
        look = await desk.look(most_bodies=40_000)
    kept = [each.message for each in look.seen if each.message is not None]
    assert 0 < sum(len(each.body) + 400 + 160 * len(each.headers) for each in kept) <= 40_000
    assert (look.bodiless, len(look.seen)) == (len(LETTERS) - len(kept), len(LETTERS))


async def test_an_empty_queue_is_an_empty_look(vhost: Vhost) -> None:
    connection = await connect(access(vhost), "test")
    await declare(connection, TOPOLOGY)
    await connection.close()
    async with opened(access(vhost), TOPOLOGY, "test") as desk:
        assert (await desk.look()).total == 0
        assert await desk.remove({"x"}) == []


async def test_a_failure_within_a_look_gives_everything_back(any_vhost: Vhost) -> None:
    # Given
    await bury(any_vhost.url, LETTERS)
    connection = await connect(access(any_vhost), "test")

    def fails(tag: int, _: Message) -> None:
        if tag == 100:
            raise ValueError("no")

    # When
    browse = Browse(connection, TOPOLOGY.dead, fails)
    with pytest.raises(ValueError, match="no"):
        await browse.take(1_000)
    await browse.close()
    await connection.close()
    # Then
    async with opened(access(any_vhost), TOPOLOGY, "test") as desk:
        assert await everything(desk) == [bare(each) for each in LETTERS]


@pytest.mark.parametrize("prefetch", [70, 304])
async def test_removing_many_channel_by_channel_leaves_the_others_in_their_order(any_vhost: Vhost, prefetch: int) -> None:
    # Given
    await bury(any_vhost.url, LETTERS)
    connection = await connect(access(any_vhost), "test")
    browse = Browse(connection, TOPOLOGY.dead, lambda place, message: None, prefetch=prefetch, apart=True)
    count = await browse.take(1_000)
    # When
    gone = [place for place in range(1, count + 1) if place % 3 == 1 or place > 290]
    await browse.remove(gone)
    await browse.close()
    await connection.close()
    # Then
    async with opened(access(any_vhost), TOPOLOGY, "test") as desk:
        assert await everything(desk) == [bare(each) for place, each in enumerate(LETTERS, 1) if place not in gone]


async def test_what_was_looked_at_is_there_again_when_the_look_has_ended(any_vhost: Vhost) -> None:
    # So many that the broker takes a moment for it
    count = 3_000
    await bury(any_vhost.url, [Message(b"%d" % number) for number in range(count)])
    other = await connect(access(any_vhost), "test")
    async with opened(access(any_vhost), TOPOLOGY, "test") as desk:
        for _ in range(5):
            await desk.look(most_bodies=0)
            ready, _ = await depth(other, TOPOLOGY.dead)
            assert ready == count
    await other.close()


async def test_a_look_after_one_that_was_cut_off_sees_everything(any_vhost: Vhost) -> None:
    # Given
    await bury(any_vhost.url, LETTERS)
    for _ in range(3):
        cut = await connect(access(any_vhost), "cut")
        await Browse(cut, TOPOLOGY.dead, lambda place, message: None).take(1_000)
        # When
        cut._closing = True
        cut._raw._transport.abort()
        # Then
        async with opened(access(any_vhost), TOPOLOGY, "test") as desk:
            assert await everything(desk) == [bare(each) for each in LETTERS]


async def test_a_program_that_consumes_the_letters_is_told_of(vhost: Vhost, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    await bury(vhost.url, LETTERS)
    monkeypatch.setattr("worker.rabbit.browse.RETURNED_S", 1.0)
    foreign = await connect(access(vhost), "foreign")
    await Browse(foreign, TOPOLOGY.dead, lambda place, message: None).take(1_000)
    # When, Then
    async with opened(access(vhost), TOPOLOGY, "test") as desk:
        with pytest.raises(BrokerError, match=r"another program consumes workorders\.dead"):
            await desk.look()
    await foreign.close()
