"""`ditio-worker dead`: look at the dead letters, understand them, take them out, put them back. Each subcommand is a module of its own."""

from __future__ import annotations

import argparse
from importlib import import_module

from worker.cli.terminal import Command

SUBCOMMANDS = ("list", "show", "plan", "replay", "discard", "export", "import")
"""Each is the module `dead_…` in this package."""

DESCRIPTION = """Looks after the queue of the dead letters, WORKER_QUEUE_PREFIX.dead. The queue is the truth: each command takes all of it for a
moment and gives it back in its order. One operator at a time; a second one is told who holds the letters and since when.
The worker is not disturbed, and whatever interrupts a command, no letter is lost.

The exit status is 3 when nothing matched. Their own --help says more."""

EXAMPLE = """  ditio-worker dead list
  ditio-worker dead list --each --reason unresolved-project --since 2d
  ditio-worker dead show 3f2a
  ditio-worker dead plan --project P-2026-001
  ditio-worker dead discard --superseded --reason "newer events came through"
  ditio-worker dead export --reason invalid-event > letters.jsonl"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommands, each with arguments of its own."""
    subparsers = parser.add_subparsers(title="what to do", metavar="|".join(SUBCOMMANDS), required=True)
    for name in SUBCOMMANDS:
        command: Command = import_module(f"worker.cli.dead_{name}").COMMAND
        subparser = subparsers.add_parser(
            name,
            help=command.summary,
            description=command.description,
            epilog=f"example:\n{command.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.arguments(subparser)
        subparser.set_defaults(carry_out=command.execute)


COMMAND = Command(
    summary="look at dead letters, understand them, plan, discard, export and import them",
    description=DESCRIPTION,
    example=EXAMPLE,
    execute=lambda arguments, terminal: int(arguments.carry_out(arguments, terminal)),
    arguments=add_arguments,
)
