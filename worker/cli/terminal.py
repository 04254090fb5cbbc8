"""What a command is, and what it sees of the world: the environment, and where to write."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, TextIO, TypeAlias

from worker.config import NEEDS, Settings, read
from worker.log import Mask

Row = Mapping[str, object]


@dataclass(frozen=True)
class Terminal:
    """The environment and the standard streams of a command. Errors are masked: they may quote what failed."""

    environ: Mapping[str, str]
    out: TextIO
    err: TextIO
    stdin: BinaryIO | None = None
    mask: Mask = field(default_factory=Mask)

    def settings(self, command: str) -> Settings:
        """The settings that a command needs; slips are reported. Raises SettingsError."""
        settings = read(self.environ, needs=NEEDS[command])
        for secret in settings.hidden():
            self.mask.hide(secret)
        self.complain(*(f"warning: {warning}" for warning in settings.warnings))
        return settings

    def say(self, *lines: str) -> None:
        """Writes lines to standard output."""
        for line in lines:
            print(line, file=self.out)

    def complain(self, *lines: str) -> None:
        """Writes lines to standard error, without secrets."""
        for line in lines:
            print(self.mask.clean(line), file=self.err)

    def show(self, form: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Rows as a table (plain when piped), as one JSON array, or as a line of JSON each."""
        if form == "json":
            self.document(list(rows))
        elif form == "jsonl":
            self.say(*(json.dumps(row, ensure_ascii=False) for row in rows))
        elif self.out.isatty():
            self._drawn(columns, rows)
        else:
            self.say(*_plain(columns, rows))

    def document(self, value: object) -> None:
        """A value as indented JSON."""
        self.say(json.dumps(value, ensure_ascii=False, indent=2))

    def _drawn(self, columns: Sequence[str], rows: Sequence[Row]) -> None:
        # Drawing is slow to import and of use to people only.
        from rich.console import Console  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table(*columns, box=None, header_style="bold", pad_edge=False)
        for row in rows:
            table.add_row(*(Text(_text(row.get(column)), overflow="fold") for column in columns))
        Console(file=self.out).print(table)


Execute: TypeAlias = Callable[[argparse.Namespace, Terminal], int]


@dataclass(frozen=True)
class Command:
    """A command: `arguments` adds its options to a parser, `execute` carries it out and returns the exit status.

    One with a `program` passes everything that follows its name, --help too, to the `main(argv)` of that module.
    """

    summary: str
    description: str = ""
    example: str = ""
    execute: Execute | None = None
    arguments: Callable[[argparse.ArgumentParser], None] = lambda _: None
    program: str = ""


def add_format(parser: argparse.ArgumentParser) -> None:
    """The option that says how output looks."""
    parser.add_argument("--format", choices=("table", "json", "jsonl"), default="table", help="table unless given")


def _plain(columns: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """Columns padded with blanks, names first; the last column is not padded."""
    lines = [tuple(columns), *(tuple(_text(row.get(column)) for column in columns) for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _text(value: object) -> str:
    text = "" if value is None else str(value)
    return text if text.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
