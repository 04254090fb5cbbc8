"""The command line: `ditio-worker`, also `python -m worker`.

Exit status: 0 done, 1 failed, 2 wrong settings or arguments, 3 nothing matched, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from worker.cli.files import FileError
from worker.cli.terminal import Command, Execute, Terminal
from worker.config import SettingsError
from worker.core.errors import WorkerError

COMMANDS = (
    "run", "check", "status", "pause", "resume", "waiting", "config", "publish", "validate", "plan", "tasks",
    "schema", "topology", "sandbox", "demo",
)  # fmt: skip
"""Each is the module of its name in this package."""

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130

EPILOG = """exit status: 0 done, 1 failed, 2 wrong settings or arguments, 3 nothing matched, 130 interrupted

Settings are environment variables; `ditio-worker config` shows them. Every command has --help with an example."""


def main(argv: Sequence[str] | None = None, terminal: Terminal | None = None) -> int:
    """Carries out a command and returns the exit status. Raises nothing; a traceback goes to standard error."""
    terminal = terminal or Terminal(os.environ, sys.stdout, sys.stderr)
    status = FAILED
    try:
        status = _carry_out(list(sys.argv[1:] if argv is None else argv), terminal)
        terminal.out.flush()
    except SystemExit as leaving:  # argparse has said what is wrong, or shown its help
        status = leaving.code if isinstance(leaving.code, int) else DONE
    except SettingsError as error:
        terminal.complain(*error.problems)
        status = WRONG
    except FileError as error:
        terminal.complain(str(error))
        status = WRONG
    except KeyboardInterrupt:
        terminal.complain("interrupted")
        status = INTERRUPTED
    except BrokenPipeError:  # whoever read the output has seen enough; what Python flushes at its end goes nowhere
        status = FAILED
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except WorkerError as error:
        terminal.complain(str(error))
    except Exception:  # the last chance to keep secrets out of a traceback
        terminal.complain(traceback.format_exc())
    return status


def _carry_out(argv: list[str], terminal: Terminal) -> int:
    commands = {name: _command(name) for name in COMMANDS}
    if argv and argv[0] in commands and (program := commands[argv[0]].program):
        status: int = import_module(program).main(argv[1:])
        return status
    arguments = _parser(commands).parse_args(argv)
    execute: Execute = arguments.execute
    return execute(arguments, terminal)


def _command(name: str) -> Command:
    command: Command = import_module(f"worker.cli.{name}").COMMAND
    return command


def _parser(commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ditio-worker",
        description="Brings work-order events from RabbitMQ to Ditio's task API.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ditio-worker {_version()}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in commands.items():
        subparser = subparsers.add_parser(
            name,
            help=command.summary,
            description=command.description,
            epilog=f"example:\n{command.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.arguments(subparser)
        subparser.set_defaults(execute=command.execute)
    return parser


def _version() -> str:
    try:
        return version("ditio-worker")
    except PackageNotFoundError:
        return "(not installed)"
