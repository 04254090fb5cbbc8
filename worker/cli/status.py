"""`ditio-worker status`: the state in ten lines."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import Any

from worker.cli.looking import Seen, look, state
from worker.cli.opening import utc
from worker.cli.terminal import Command, Terminal, add_format
from worker.config import Settings

NOTHING_SEEN = 1


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Looks at ledger, broker and worker, and says what each shows."""
    settings = terminal.settings("status")
    seen = asyncio.run(look(settings))
    told = tell(seen, settings, time.time())
    if arguments.format == "table":
        terminal.say(*(f"{name:<13} {terminal.mask.clean(text)}" for name, text in lines(told, seen, settings)))
    else:
        text = json.dumps(told, ensure_ascii=False, indent=2 if arguments.format == "json" else None)
        terminal.say(terminal.mask.clean(text))
    return 0 if seen.ledger or seen.pages or seen.depths is not None else NOTHING_SEEN


def tell(seen: Seen, settings: Settings, now: float) -> dict[str, Any]:
    """The documented JSON. What could not be seen is null."""
    from worker.ledger import holder  # noqa: PLC0415 - keeps --help fast

    ledger, depths, pages = seen.ledger, seen.depths, seen.pages
    word, sentence = state(seen, holder(settings.ledger_url().place), now)
    return {
        "worker": {"state": word, "detail": sentence, "causes": list(pages.causes) if pages else None},
        "last_event": _last_event(seen),
        "queues": dict(depths) if depths is not None else None,
        "paused": _paused(seen),
        "circuit": pages.circuit if pages else None,
        "events_per_minute": {f"{minutes} min": round(rate, 1) for minutes, rate in ledger.per_minute.items()}
        if ledger
        else None,
        "waiting": {kind: count for kind, count in sorted(ledger.unsettled.kinds.items()) if count} if ledger else None,
        "unsettled": {name: count for name, count in sorted(ledger.unsettled.states.items()) if count} if ledger else None,
        "dead_letters": depths.get(f"{settings.worker_queue_prefix}.dead") if depths is not None else None,
        "ledger": {"path": ledger.path, "bytes": ledger.size, "work_orders": ledger.work_orders} if ledger else None,
        "doubts": ledger.doubts if ledger else None,
        "unseen": dict(seen.unseen),
    }


def _last_event(seen: Seen) -> dict[str, object] | None:
    if seen.ledger is None or seen.ledger.last is None:
        return None
    key, line = seen.ledger.last
    return {
        "at": utc(line.at / 1_000_000), "outcome": line.outcome, "event_type": line.type, "event_id": line.id,
        "project_id": key.project_id, "external_id": key.external_id,
    }  # fmt: skip


def _paused(seen: Seen) -> dict[str, object] | None:
    """The pause that the ledger holds; else what the worker itself pauses for."""
    if seen.ledger and (pause := seen.ledger.pause):
        return {"cause": pause.cause, "reason": pause.reason, "by": pause.by, "since": utc(pause.at)}
    if seen.pages and seen.pages.paused:
        cause = seen.pages.paused[0]
        reasons = [each for each in seen.pages.causes if f" {cause}:" in each]
        return {"cause": cause, "reason": reasons[0] if reasons else "", "by": "the worker", "since": None}
    return None


def lines(told: dict[str, Any], seen: Seen, settings: Settings) -> list[tuple[str, str]]:
    """The same in ten lines."""
    no_ledger = f"not seen: {seen.unseen.get('ledger', '')}"
    no_broker = f"not seen: {seen.unseen.get('broker', '')}"
    last, paused, ledger, rates = (told[name] for name in ("last_event", "paused", "ledger", "events_per_minute"))
    none_yet = "none yet" if ledger else no_ledger
    return [
        ("worker", told["worker"]["detail"]),
        ("last event", f"{last['at']} {last['outcome']}: {last['event_type']} {last['event_id']} of {last['external_id']}" if last else none_yet),
        ("queues", _counts(_short(told["queues"], settings.worker_queue_prefix)) if told["queues"] is not None else no_broker),
        ("paused", _pause_line(paused, ledger is not None or seen.pages is not None)),
        ("circuit", told["circuit"] or "not seen: no worker answers"),
        ("events/min", ", ".join(f"{rate:g} over {span}" for span, rate in rates.items()) if rates else no_ledger),
        ("waiting", _counts(told["waiting"]) if ledger else no_ledger),
        ("dead letters", str(told["dead_letters"]) if told["dead_letters"] is not None else no_broker),
        ("ledger", _ledger_line(ledger) if ledger else no_ledger),
        ("doubts", f"{told['doubts']} open" if ledger else no_ledger),
    ]  # fmt: skip


def _ledger_line(ledger: dict[str, Any]) -> str:
    size = f"{ledger['bytes'] / 1e6:.1f} MB, " if ledger["bytes"] is not None else ""
    return f"{ledger['work_orders']} work orders, {size}{ledger['path']}"


def _pause_line(paused: dict[str, Any] | None, seen: bool) -> str:
    if paused is None:
        return "no" if seen else "not seen"
    since = f" since {paused['since']}" if paused["since"] else ""
    return f"{paused['cause']}, by {paused['by']}{since}: {paused['reason']}"


def _short(depths: dict[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(f"{prefix}."): depth for name, depth in depths.items() if not name.endswith(".dead")}


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "nothing"


COMMAND = Command(
    summary="the state in ten lines",
    description="Shows what the worker does, the last event, the depths of the queues, the pause in force with its reason, the circuit,\n"
    "how many events were settled a minute, what waits, dead letters, the ledger and its open doubts. It looks at the ledger, the\n"
    "broker and the worker's own pages, disturbs none of them, and says which it could not see. The exit status is 1 when it\n"
    "could see nothing at all.\n\n"
    'json: {"worker": {"state": "running"|"not ready"|"stopped"|"crashed"|"crash-looping"|"unknown", "detail", "causes"},\n'
    '"last_event": {"at", "outcome", "event_type", "event_id", "project_id", "external_id"}, "queues": {name: messages},\n'
    '"paused": {"cause", "reason", "by", "since"}, "circuit", "events_per_minute": {"1 min", "5 min", "15 min"},\n'
    '"waiting": {kind: events}, "unsettled": {"missing", "stale"}, "dead_letters", "ledger": {"path", "bytes", "work_orders"},\n'
    '"doubts", "unseen": {what: why}}; null where there is none, or it was not seen; jsonl: the same in a line.',
    example="  ditio-worker status\n  ditio-worker status --format json | jq .paused",
    execute=execute,
    arguments=add_format,
)
