"""`ditio-worker dead replay`: dead letters go out again, watched."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from worker.cli.replaying import counted, duration, shown
from worker.cli.selecting import add_selection, selection_of
from worker.cli.terminal import Command, Terminal, add_format
from worker.config import Settings
from worker.core.errors import LedgerError
from worker.core.replay_order import lasts
from worker.core.replay_repair import NoRepair, Repair, repair
from worker.core.replayed import Run

if TYPE_CHECKING:  # slow to import, and --help does without
    from worker.dead.replay import Result
    from worker.dead.replay_choice import Choice
    from worker.ledger import Store

DONE, FAILED, WRONG, NOTHING_MATCHED, INTERRUPTED = 0, 1, 2, 3, 130
NAMED = 20
"""Letters that are named one by one on standard error."""

PLANNED = ("id", "project", "external_id", "event_id", "time", "action", "detail")
SETTLE_S = 10.0
"""How long an earlier replay's letters are waited for, until it is known what they are."""


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Replays what matches, once that was agreed to."""
    settings = terminal.settings("dead replay")
    return asyncio.run(_executed(arguments, settings, terminal))


async def _executed(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from worker.dead import operator  # noqa: PLC0415

    run = Run(uuid4().hex, operator(), int(time.time() * 1_000_000))
    async with _ledger(settings, terminal) as notes:
        if notes is None and not (arguments.no_follow or arguments.dry_run):
            terminal.complain(
                "outcomes cannot be followed without the ledger of the worker (LEDGER_URL); --no-follow replays without"
            )
            return WRONG
        choice = await _chosen(arguments, settings, terminal, notes, run)
        _name_left(choice, terminal)
        if not choice.chosen:
            terminal.complain(
                "nothing matched" if not choice.left else f"nothing is replayed: {len(choice.left)} letters are left"
            )
            _show_nothing(arguments, choice, terminal)
            return FAILED if choice.left else NOTHING_MATCHED
        if arguments.dry_run:
            _show_plan(arguments, choice, terminal)
            return DONE
        if not (arguments.yes or _agreed(arguments, choice, terminal)):
            terminal.complain("nothing was replayed")
            return FAILED
        result = await _replayed(arguments, settings, terminal, notes, run, choice)
    return _told(arguments, result, choice, run, terminal)


@asynccontextmanager
async def _ledger(settings: Settings, terminal: Terminal) -> AsyncIterator[Store | None]:
    """The ledger beside the worker; None, which is told, where there is none that can be used."""
    from worker import ledger  # noqa: PLC0415
    from worker.clock import WallClock  # noqa: PLC0415

    try:
        store = await ledger.open_beside(settings.ledger_url().place, clock=WallClock())
    except LedgerError as error:
        terminal.complain(str(error))
        yield None
        return
    try:
        yield store
    finally:
        await store.close()


async def _chosen(arguments: argparse.Namespace, settings: Settings, terminal: Terminal, notes: Store | None, run: Run) -> Choice:
    """The letters that go out: frozen before anything is asked. What an earlier replay left behind is taken out first."""
    from worker.core.decode import decode  # noqa: PLC0415
    from worker.dead import opened  # noqa: PLC0415
    from worker.dead.replay_choice import Asked, Reading, choose, without  # noqa: PLC0415
    from worker.dead.replay_left import settle  # noqa: PLC0415
    from worker.wiring import broker_access, rules_of, topology_of  # noqa: PLC0415

    rules = rules_of(settings)
    asked = Asked(selection_of(arguments), arguments.max_replays, tuple(arguments.repairs))
    async with opened(broker_access(settings), topology_of(settings), "dead replay", most=arguments.most) as at:
        unsure: frozenset[str] = frozenset()
        if notes is not None and not arguments.dry_run:
            tidied = await settle(at, notes, topology_of(settings), SETTLE_S)
            unsure = frozenset(each.letter_id for each in tidied.unsure)
            if tidied.removed:
                terminal.complain(f"{len(tidied.removed)} letters that an interrupted replay had sent out were taken out")
        choice = without(await choose(at, asked, Reading(lambda message: decode(message, rules), rules.order_by), run), unsure)
        if choice.copies and not arguments.dry_run:
            await at.remove(choice.copies)
            terminal.complain(f"{len(choice.copies)} letters that have come back as others were taken out")
    return choice


def _name_left(choice: Choice, terminal: Terminal) -> None:
    for each in choice.left[:NAMED]:
        terminal.complain(f"{each.id} is left: {each.why}")
    if len(choice.left) > NAMED:
        terminal.complain(f"and {len(choice.left) - NAMED} more are left")


def _show_plan(arguments: argparse.Namespace, choice: Choice, terminal: Terminal) -> None:
    rows: list[dict[str, Any]] = [
        {
            "id": each.id, "project": each.identity.project, "external_id": each.identity.external_id, "event_id": each.identity.id,
            "time": each.stamp.time.rfc3339() if each.stamp else None, "action": "replay", "detail": "",
        }
        for each in choice.chosen
    ]  # fmt: skip
    rows += [{"id": each.id, "action": "leave", "detail": each.why} for each in choice.left]
    rows += [{"id": each, "action": "remove", "detail": "has come back as another letter"} for each in choice.copies]
    terminal.show(arguments.format, PLANNED, [dict.fromkeys(PLANNED) | each for each in rows])
    terminal.complain(f"{len(choice.chosen)} letters would be replayed{_takes(arguments, choice)}; nothing was")


def _show_nothing(arguments: argparse.Namespace, choice: Choice, terminal: Terminal) -> None:
    if arguments.dry_run and (choice.left or arguments.format != "table"):
        _show_plan(arguments, choice, terminal)


def _takes(arguments: argparse.Namespace, choice: Choice) -> str:
    seconds = lasts(len(choice.chosen), arguments.rate)
    return f" in about {duration(seconds)} at {arguments.rate:g} a second" if seconds >= 1 else ""


def _agreed(arguments: argparse.Namespace, choice: Choice, terminal: Terminal) -> bool:
    set_to = f", each with {', '.join(each.text for each in arguments.repairs)}" if arguments.repairs else ""
    text = f"Replay {len(choice.chosen)} of {choice.total} dead letters{_takes(arguments, choice)}{set_to}? [y/N] "
    print(text, end="", file=terminal.err, flush=True)
    answer = (terminal.stdin or sys.stdin.buffer).readline()
    return answer.strip().lower() in (b"y", b"yes")


async def _replayed(
    arguments: argparse.Namespace, settings: Settings, terminal: Terminal, notes: Store | None, run: Run, choice: Choice
) -> Result:
    from worker.dead import opened  # noqa: PLC0415
    from worker.dead.replay import Replay, Terms  # noqa: PLC0415
    from worker.dead.replay_following import Following  # noqa: PLC0415
    from worker.dead.replay_sending import Sender  # noqa: PLC0415
    from worker.rabbit import Publisher  # noqa: PLC0415
    from worker.wiring import broker_access, topology_of  # noqa: PLC0415

    terms = Terms(arguments.rate, arguments.canary, arguments.max_failures, arguments.patience, not arguments.no_follow)
    publisher, following = Publisher(broker_access(settings)), Following(run, notes)
    sender = Sender(publisher, topology_of(settings).events, notes, run, arguments.repairs)
    try:
        with shown(terminal, len(choice.chosen)) as tell:
            async with opened(broker_access(settings), topology_of(settings), "dead replay", most=arguments.most) as at:
                replay = Replay(at, sender, following, terms, stop=_stop_signal(), tell=tell)
                return await replay.run(choice.chosen)
    finally:
        await publisher.close()


def _stop_signal() -> asyncio.Event:
    """Is set by the first SIGINT or SIGTERM, so that what is under way is finished; the second one acts as usual."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def stopping(number: int) -> None:
        loop.remove_signal_handler(number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping, number)
    return stop


def _told(arguments: argparse.Namespace, result: Result, choice: Choice, run: Run, terminal: Terminal) -> int:
    """Shows how it ended, and returns the exit status."""
    summary = [{"outcome": end, "letters": count} for end, count in sorted(result.counts.items(), key=lambda each: -each[1])]
    if arguments.format == "table":
        terminal.show("table", ("outcome", "letters"), summary)
    else:
        back = [{"from": each.origin, "id": each.id, "reason": each.reason, "detail": each.detail} for each in result.back]
        left = [{"id": each.id, "why": each.why, "field": each.field} for each in choice.left]
        document = {
            "replay_id": run.id, "matched": len(choice.chosen) + len(choice.left), "replayed": result.sent,
            "outcomes": dict(result.counts), "back": back, "left": left, "gone": list(result.gone),
            "stopped": result.stopped or None,
        }  # fmt: skip
        terminal.show("jsonl", (), [document]) if arguments.format == "jsonl" else terminal.document(document)
    for each in result.back[:NAMED]:
        terminal.complain(f"{each.origin} came back as {each.id}: {each.reason}: {each.detail}")
    if result.stopped:
        terminal.complain(f"stopped: {result.stopped}")
    ending = counted(result.counts) if not arguments.no_follow else "not followed"
    terminal.complain(f"replay {run.id}: {result.sent} of {len(choice.chosen)} letters replayed: {ending}")
    if result.interrupted:
        return INTERRUPTED
    return FAILED if result.stopped or result.back or result.counts.get("dead") or choice.left else DONE


def _repair(text: str) -> Repair:
    try:
        return repair(text)
    except NoRepair as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of letters")
    return int(text)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 on")
    return number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Filters, pace, repairs, and whether to ask."""
    parser.add_argument(
        "--rate", type=_seconds, default=10.0, metavar="N", help="letters a second, 0 for no limit; default %(default)g"
    )
    parser.add_argument(
        "--canary",
        type=_number,
        default=1,
        metavar="N",
        help="so many letters go first, and their outcomes are waited for; default %(default)s",
    )
    parser.add_argument(
        "--max-failures", type=_number, default=10, metavar="N", help="stop when more than so many come back; default %(default)s"
    )
    parser.add_argument(
        "--max-replays",
        type=_number,
        default=5,
        metavar="N",
        help="leave letters that were replayed so often; default %(default)s",
    )
    parser.add_argument(
        "--set", dest="repairs", type=_repair, action="append", default=[], metavar="PATH=VALUE",
        help="repair each event: time=-1h (a shift), time=2026-03-15T08:00:00Z, data.unit=m3, data.finishedDate=null; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--patience",
        type=_seconds,
        default=120.0,
        metavar="S",
        help="wait so many seconds for outcomes at the end; default %(default)g",
    )
    parser.add_argument("--no-follow", action="store_true", help="do not wait for outcomes, and send no canary")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be replayed, in which order")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_selection(parser)
    add_format(parser)


COMMAND = Command(
    summary="send letters back to the worker: canary first, at a rate, each followed to its outcome",
    description="Chooses letters once, asks, and sends them to the queue of the events: work order by work order, each in the order of its events.\n"
    "A canary goes first; unless it comes through, nothing else is sent. Then the rate rises for ten seconds to --rate. A letter leaves\n"
    "the dead letters when the broker has confirmed its event. What comes back is counted and not sent again. Ctrl-C finishes the batch in\n"
    "hand; whatever else interrupts it, no letter is lost, and the next command takes out a letter whose event went on without it.\n\n"
    "--set repairs each event; it must be valid then, or the letter is left. An event that is older than what Ditio has confirmed since\n"
    "changes nothing: newer values win.\n\n"
    'json: {"replay_id": …, "matched": n, "replayed": n, "outcomes": {"applied": n, …}, "back": [{"from": id, "id": …, "reason": …,\n'
    '  "detail": …}, …], "left": [{"id": …, "why": …, "field": …}, …], "gone": [id, …], "stopped": … or null};\n'
    'with --dry-run: [{"id": …, "project": …, "external_id": …, "event_id": …, "time": …, "action": "replay"|"leave"|"remove", "detail": …}, …]',
    example="  ditio-worker dead replay --reason unresolved-project --project P-2026-001\n"
    "  ditio-worker dead replay --reason unresolved-unit --set data.unit=m3 --yes\n"
    "  ditio-worker dead replay --since 2d --dry-run",
    execute=execute,
    arguments=add_arguments,
)
