"""One line per record: JSON for machines, columns for people. Registered secrets never appear.

The line of a settled event carries, as extra fields, `event_id event_type source project external_id outcome reason
duration_ms task_id calls`: ids only, no names of people and no bodies.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Literal, TextIO, TypeAlias
from urllib.parse import quote, quote_plus

Format: TypeAlias = Literal["json", "console"]

MASK = "***"
LONGEST_TEXT = 4_000
LONGEST_TRACEBACK = 20_000
PASSWORD_IN_URL = re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]*@")

QUIETED: Mapping[str, int] = MappingProxyType(
    {
        # Each failed attempt to connect is six errors with tracebacks; the worker logs the cause itself, once.
        "pika": logging.CRITICAL,
        # One line per request or connection, with addresses that name projects and work orders.
        "httpx": logging.WARNING,
        "httpcore": logging.WARNING,
        "aiohttp": logging.WARNING,
        "asyncio": logging.WARNING,
    }
)
"""The least important lines of libraries that are logged; at the level `debug` pika's warnings are let through.

Never lower: on their own debug level some of them log bodies.
"""

OWN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What logging itself keeps in a record; anything else was passed as `extra`."""


class Mask:
    """Secrets that must not appear, however a text came to hold them: as they are, percent-encoded, or in a literal."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._hidden: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        for secret in secrets:
            self.hide(secret)

    def hide(self, secret: str) -> None:
        """From now on this text is replaced."""
        if not secret:
            return
        literals = repr(secret)[1:-1], json.dumps(secret)[1:-1]
        self._hidden.update((secret, quote(secret), quote(secret, safe=""), quote_plus(secret), *literals))
        self._pattern = re.compile("|".join(re.escape(text) for text in sorted(self._hidden, key=len, reverse=True)))

    def clean(self, text: str) -> str:
        """The text without secrets, and without the passwords of any address in it."""
        if self._pattern:
            text = self._pattern.sub(MASK, text)
        return PASSWORD_IN_URL.sub(rf"\1:{MASK}@", text) if "://" in text else text


class JsonFormatter(logging.Formatter):
    """A record as a JSON object: `time` (RFC 3339, UTC), `level`, `logger`, `message`, extra fields, `exception`."""

    def __init__(self, mask: Mask) -> None:
        super().__init__()
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        line = _fixed(record, self._mask)
        for name, value in _extra(record):
            line[f"{name}_" if name in line else name] = _plain(value, self._mask)
        if trace := _traceback(self, record):
            line["exception"] = self._mask.clean(trace)
        # What is no Unicode (a lone surrogate) becomes its JSON escape, which any stream can take.
        return json.dumps(line, ensure_ascii=False).encode(errors="backslashreplace").decode()


class ConsoleFormatter(logging.Formatter):
    """A record as `time LEVEL logger: message  name=value …`, a traceback on the lines below."""

    def __init__(self, mask: Mask) -> None:
        super().__init__()
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        fixed = _fixed(record, self._mask)
        extra = [f"{name}={_shown(_plain(value, self._mask))}" for name, value in _extra(record)]
        head = f"{fixed['time']} {record.levelname:<7} {record.name}: {_printable(str(fixed['message']))}"
        line = "  ".join((head, " ".join(extra))) if extra else head
        trace = _traceback(self, record)
        return "\n".join((line, *map(_printable, self._mask.clean(trace).splitlines())))


class _Handler(logging.StreamHandler[TextIO]):
    """The worker's own handler, told apart from those of others."""


def configure(
    format: Format = "json",
    level: str = "info",
    stream: TextIO | None = None,
    secrets: Iterable[str] = (),
) -> Mask:
    """Sends all logging to `stream` (standard error), through a mask to which further secrets can be added.

    A second call replaces the first. Handlers of others are left alone.
    """
    mask = Mask(secrets)
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(mask) if format == "json" else ConsoleFormatter(mask))
    remove()
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name, least in QUIETED.items():
        quiet = logging.WARNING if level == "debug" else least
        logging.getLogger(name).setLevel(max(quiet, root.level))
    logging.captureWarnings(capture=True)
    return mask


def remove() -> None:
    """Takes back what `configure` did, but for the levels."""
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(handler)
    logging.captureWarnings(capture=False)


def _fixed(record: logging.LogRecord, mask: Mask) -> dict[str, object]:
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    message = _cut(mask.clean(_message(record)), LONGEST_TEXT)
    return {"time": time, "level": record.levelname.lower(), "logger": record.name, "message": message}


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # arguments that do not fit: a line that looks odd is worth more than none
        return f"{record.msg} {record.args}"


def _extra(record: logging.LogRecord) -> Iterable[tuple[str, object]]:
    return ((name, value) for name, value in vars(record).items() if name not in OWN_ATTRIBUTES and value is not None)


def _plain(value: object, mask: Mask) -> object:
    """A value of an extra field as JSON can have it, without secrets."""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(each, mask) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each, mask) for each in value]
    return _cut(mask.clean(str(value)), LONGEST_TEXT)


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = [formatter.formatException(record.exc_info)] if record.exc_info else []
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return _cut("\n".join(parts), LONGEST_TRACEBACK)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text):,} characters)"


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(_shown, value))
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    plain = text.isprintable() and text and not any(character in text for character in ' "=')
    return text if plain else json.dumps(text, ensure_ascii=not text.isprintable())


def _printable(text: str) -> str:
    """Without line breaks and terminal codes, so that nobody can write lines of his own."""
    return text if text.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
