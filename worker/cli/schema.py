"""`ditio-worker schema`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from worker import __version__
from worker.cli.terminal import Command, Terminal
from worker.core.event import EventType
from worker.core.schema import asyncapi, schema, schemas

ASYNCAPI = "asyncapi.json"


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Prints schemas, or writes them as files."""
    if arguments.write is not None:
        for name, document in documents().items():
            (arguments.write / name).write_text(text(document), "utf-8")
        terminal.complain(f"{len(documents())} files written to {arguments.write}")
    elif arguments.asyncapi:
        terminal.document(asyncapi(__version__))
    elif arguments.type:
        terminal.document(schema(EventType(arguments.type)))
    else:
        terminal.document({kind.value: schema(kind) for kind in EventType})
    return 0


def documents() -> dict[str, object]:
    """Every file of schemas/ that is made of the code's tables."""
    return {**schemas(), ASYNCAPI: asyncapi(__version__)}


def text(document: object) -> str:
    """A document as its file has it."""
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to print."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--type", choices=[kind.value for kind in EventType], help="the schema of this type alone")
    what.add_argument("--asyncapi", action="store_true", help="the AsyncAPI 3 document")
    what.add_argument("--write", type=Path, metavar="FOLDER", help="write all of them as files")


COMMAND = Command(
    summary="print the JSON Schemas of the events, or the AsyncAPI document",
    description="Prints the JSON Schema (2020-12) of each event type, as an object by type, or of one type, or the AsyncAPI 3 document.\n"
    "A schema cannot say everything: `ditio-worker validate` has the last word.",
    example="  ditio-worker schema --type workorder.updated.v1\n  ditio-worker schema --asyncapi > asyncapi.json",
    execute=execute,
    arguments=add_arguments,
)
