"""`ditio-worker config`."""

from __future__ import annotations

import argparse

from worker.cli.terminal import Command, Terminal, add_format
from worker.config import NEEDS, examine

WRONG = 2


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Shows what is in force, and what is wrong with it."""
    examination = examine(terminal.environ, needs=NEEDS["config"])
    rows = [{"name": each.name, "value": each.shown, "origin": each.origin} for each in examination.effective]
    terminal.show(arguments.format, ("name", "value", "origin"), rows)
    terminal.complain(*(f"warning: {warning}" for warning in examination.warnings), *examination.problems)
    return WRONG if examination.problems else 0


COMMAND = Command(
    summary="show the settings in force, masked",
    description="Shows every setting as it is in force, without secrets, and where it came from: default,\n"
    "environment, the path of a file, or missing. Problems go to standard error; the exit status is then 2.\n\n"
    'json: [{"name": …, "value": text or null, "origin": …}, …]; jsonl: one such object a line.',
    example="  ditio-worker config --format json | jq '.[] | select(.origin != \"default\")'",
    execute=execute,
    arguments=add_format,
)
