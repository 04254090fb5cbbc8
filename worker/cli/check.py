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
    rows = [
        {"check": line.check, "result": "ok" if line.ok else "FAILED", "detail": terminal.mask.clean(line.detail)}
        for line in lines
    ]
    terminal.show(arguments.format, ("check", "result", "detail"), rows)
    return 0 if all(line.ok for line in lines) else 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the management API is, and the format."""
    parser.add_argument(
        "--management", metavar="URL", help="RabbitMQ's management API; the broker's host at its usual port unless given"
    )
    add_format(parser)


COMMAND = Command(
    summary="check everything that a worker needs, with the remedy",
    description="Checks settings, broker (version, topology, permissions, policies), token, API and ledger, each in one line.\n"
    "With WORKER_DECLARE=true it creates missing queues, as the worker would. A ledger in a file must not be in use.\n\n"
    'json: [{"check": …, "result": "ok"|"FAILED", "detail": …}, …]. The exit status is 1 if anything failed.',
    example="  ditio-worker check && ditio-worker run",
    execute=execute,
    arguments=add_arguments,
)
