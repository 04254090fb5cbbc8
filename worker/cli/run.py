"""`ditio-worker run`."""

from __future__ import annotations

import argparse

from worker.cli.terminal import Command, Terminal


def execute(_: argparse.Namespace, terminal: Terminal) -> int:
    """Runs the worker until it is told to stop."""
    settings = terminal.settings("run")
    from worker.service import main  # noqa: PLC0415 - keeps --help fast

    return main(settings)


COMMAND = Command(
    summary="run the worker",
    description="Takes work-order events from the broker and brings each to Ditio, until SIGTERM or SIGINT.\n"
    "Logs go to standard error; /metrics, /livez and /readyz are served at WORKER_HTTP_ADDRESS.",
    example="  AMQP_URL=amqps://worker:…@broker/ DITIO_CLIENT_SECRET_FILE=/run/secrets/ditio ditio-worker run",
    execute=execute,
)
