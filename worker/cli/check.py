"""`ditio-worker check`: preflight, one line for each thing that must be right, with the remedy."""

from __future__ import annotations

import argparse
import asyncio

from worker.cli.terminal import Command, Terminal, add_format


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Checks everything, and tells whether a worker could start."""
    settings = terminal.settings("check")
    from worker.preflight import preflight  # noqa: PLC0415 - keeps --help fast

    lines = asyncio.run(preflight(settings, arguments.management))
    rows = [{"check": line.check, "result": line.result, "detail": terminal.mask.clean(line.detail)} for line in lines]
    terminal.show(arguments.format, ("check", "result", "detail"), rows)
    return 1 if any(line.result == "FAILED" for line in lines) else 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the management API is, and the format."""
    parser.add_argument(
        "--management", metavar="URL", help="RabbitMQ's management API; the broker's host at its usual port unless given"
    )
    add_format(parser)


COMMAND = Command(
    summary="check everything that a worker needs, with the remedy",
    description="Checks settings, broker (version, permissions), topology, policies; token, scope, projects, company, a look-up of tasks\n"
    "and the clock at Ditio, where nothing is written; and the ledger, which is only read. Each in one line, with the remedy.\n"
    "With WORKER_DECLARE=true it creates missing queues, as the worker would. A worker may be running.\n\n"
    'json: [{"check": …, "result": "ok"|"FAILED"|"skipped", "detail": …}, …]; skipped is what could not be looked at.\n'
    "The exit status is 1 if anything failed.",
    example="  ditio-worker check && ditio-worker run",
    execute=execute,
    arguments=add_arguments,
)
