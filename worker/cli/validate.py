"""`ditio-worker validate`: what the worker would say to events, without a broker or Ditio."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from worker.cli.files import Found, add_files, events
from worker.cli.terminal import Command, Terminal, add_format
from worker.core.errors import BadEvent, UnsupportedType
from worker.core.message import Message

STRUCTURED = "application/cloudevents+json"
COLUMNS = ("file", "line", "field", "reason", "detail")


@dataclass(frozen=True)
class Fault:
    """What is wrong with an event in a file. `reason` is the `failure-reason` that its dead letter would have."""

    file: str
    line: int
    field: str
    reason: str
    detail: str


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Says of each event that is not valid where and why."""
    decode = decoder(terminal, "validate")
    found = events(arguments.files, terminal.stdin or sys.stdin.buffer)
    faults = faults_of(found, decode)
    show(arguments.format, faults, terminal)
    terminal.complain(f"{len(found)} events, {len(faults)} of them invalid")
    return 1 if faults else 0


def show(form: str, faults: Sequence[Fault], terminal: Terminal) -> None:
    """The faults in one of the formats; a table only if there are any."""
    if faults or form != "table":
        terminal.show(form, COLUMNS, [asdict(fault) for fault in faults])


def decoder(terminal: Terminal, command: str) -> Callable[[Message], object]:
    """The worker's own decoder with the rules that the settings say. Raises SettingsError."""
    settings = terminal.settings(command)
    from worker.core.decode import decode  # noqa: PLC0415
    from worker.wiring import rules_of  # noqa: PLC0415 - keeps --help fast

    rules = rules_of(settings)
    return lambda message: decode(message, rules)


def faults_of(found: Sequence[Found], decode: Callable[[Message], object]) -> list[Fault]:
    """The first fault of each event that has one. `decode` raises BadEvent."""
    faults = []
    for each in found:
        if each.malformed:
            faults.append(Fault(each.file, each.line, "", "invalid-event", f"no valid JSON: {each.malformed}"))
            continue
        try:
            decode(Message(each.body, properties={"content_type": STRUCTURED}))
        except BadEvent as error:
            reason = "unsupported-type" if isinstance(error, UnsupportedType) else "invalid-event"
            faults.append(Fault(each.file, each.line_of(error.field), error.field, reason, error.detail))
    return faults


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Files and format."""
    add_files(parser)
    add_format(parser)


COMMAND = Command(
    summary="say line, field and reason of each invalid event",
    description="Decodes events (structured CloudEvents in JSON) as the worker would, and says what is wrong with\n"
    "each that is not valid. Needs no settings; those about events (WORKER_DATE_ZONE, WORKER_TABLES_FILE, …) count.\n\n"
    'json: [{"file": …, "line": n, "field": …, "reason": …, "detail": …}, …]; jsonl: one such object a line.',
    example="  ditio-worker validate events.jsonl && ditio-worker publish events.jsonl",
    execute=execute,
    arguments=add_arguments,
)
