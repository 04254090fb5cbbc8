"""Events from files: a single JSON event, a JSON array of them, or JSON lines; each with the line where it begins."""

from __future__ import annotations

import argparse
import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from worker.core.errors import WorkerError

UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


class FileError(WorkerError):
    """A file that was named cannot be read."""


@dataclass(frozen=True)
class Found:
    """What stands in a file for one event: its bytes as they are, or what is wrong with them as JSON."""

    file: str
    line: int
    body: bytes
    malformed: str = ""

    def line_of(self, path: str) -> int:
        """The line of a field such as `data.name` within an event that spans several, as well as it can be found."""
        name = path.rpartition(".")[2]
        match = re.search(rb'"' + re.escape(name.encode()) + rb'"\s*:', self.body) if name else None
        return self.line + (self.body.count(b"\n", 0, match.start()) if match else 0)


def add_files(parser: argparse.ArgumentParser) -> None:
    """The files of a command."""
    meaning = "a JSON event, a JSON array of events, or JSON lines; - is standard input"
    parser.add_argument("files", nargs="+", metavar="FILE", help=meaning)


def events(files: Sequence[str], stdin: BinaryIO) -> list[Found]:
    """The events of all files in order (`-`: standard input). Raises FileError."""
    return [found for file in files for found in _events(file, _content(file, stdin))]


def _content(file: str, stdin: BinaryIO) -> bytes:
    try:
        data = stdin.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise FileError(f"cannot read {file}: {(error.strerror or 'not possible').lower()}") from None
    return data.removeprefix(codecs.BOM_UTF8)


def _events(file: str, data: bytes) -> Iterator[Found]:
    try:
        whole = bytes(msgspec.json.decode(data, type=msgspec.Raw))
    except UNREADABLE as error:
        yield from _lines(file, data) if _first_line_is_complete(data) else [_malformed(file, data, error)]
        return
    if whole.startswith(b"["):
        yield from _items(file, data, [bytes(item) for item in msgspec.json.decode(data, type=list[msgspec.Raw])])
    else:
        yield from _items(file, data, [whole])


def _items(file: str, data: bytes, items: Sequence[bytes]) -> Iterator[Found]:
    """Only blanks and commas stand between two items, so the next occurrence of an item is itself."""
    line, position = 1, 0
    for item in items:
        start = data.index(item, position)
        line += data.count(b"\n", position, start)
        yield Found(file, line, item)
        line += item.count(b"\n")
        position = start + len(item)


def _lines(file: str, data: bytes) -> Iterator[Found]:
    for number, line in enumerate(data.split(b"\n"), start=1):
        if body := line.strip():
            yield Found(file, number, body, _fault(body))


def _first_line_is_complete(data: bytes) -> bool:
    return not _fault(data.lstrip().split(b"\n", 1)[0])


def _fault(body: bytes) -> str:
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except UNREADABLE as error:
        return _sentence(error)
    return ""


def _malformed(file: str, data: bytes, error: Exception) -> Found:
    if not data.strip():
        return Found(file, 1, data, "there is no event in it")
    place = re.search(r"byte (\d+)", str(error))
    line = data.count(b"\n", 0, int(place[1]) if place else 0) + 1
    return Found(file, line, data, _sentence(error))


def _sentence(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
