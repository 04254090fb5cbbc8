"""`ditio-worker topology`."""

from __future__ import annotations

import argparse

from worker.cli.terminal import Command, Terminal


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Prints RabbitMQ definitions."""
    settings = terminal.settings("topology")
    from worker.topology import Topology  # noqa: PLC0415 - keeps --help fast

    topology = Topology(settings.worker_queue_prefix, settings.worker_binding_keys, settings.worker_wait_steps_s)
    terminal.document(topology.definitions(arguments.vhost))
    return 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The vhost."""
    parser.add_argument("--vhost", default="/", help="the vhost that the definitions are for (/)")


COMMAND = Command(
    summary="print the queues that the worker needs, as RabbitMQ definitions",
    description="Prints exchange, queues and bindings as RabbitMQ's definitions, for an administrator to import where the worker may\n"
    "not declare them itself (WORKER_DECLARE=false). They follow WORKER_QUEUE_PREFIX, WORKER_BINDING_KEYS, WORKER_WAIT_STEPS_S.",
    example="  ditio-worker topology --vhost erp > definitions.json\n  rabbitmqctl import_definitions definitions.json",
    execute=execute,
    arguments=add_arguments,
)
