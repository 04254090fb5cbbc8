"""Messages as lines of JSON that come back to the byte: an export of dead letters.

    {"id": …, "body": …, "headers": {…}, "properties": {…}}

`body` is {"json": …} where it is JSON on one line (the very bytes, to be read and edited), else {"text": …}, or {"base64": …} where it is
no UTF-8. What the broker itself adds to headers is left out. Values of headers and properties are as JSON has them; those that it lacks
are objects with one member:

    {"float": "1.5"} {"decimal": "1.25"} {"time": "2026-03-15T08:00:00Z"} {"base64": "AP8="} {"table": {…}}
"""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

import msgspec

from worker.core.errors import WorkerError
from worker.core.letter import BROKERS_OWN
from worker.core.message import Message

UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


class NotExported(WorkerError):
    """A line is not what an export holds. The message is a clause."""


class Line(msgspec.Struct, omit_defaults=True):
    """A line of an export. `redacted`: values were taken out, so that it cannot go back; `discarded`: why, by whom and when it was."""

    id: str
    body: msgspec.Raw
    headers: dict[str, object] = {}
    properties: dict[str, object] = {}
    redacted: bool = False
    discarded: dict[str, str] | None = None


def line_of(letter_id: str, message: Message, *, redacted: bool = False, discarded: dict[str, str] | None = None) -> bytes:
    """A message as one line, without its end. What the broker has added to its headers is left out."""
    return msgspec.json.encode(
        Line(
            letter_id,
            msgspec.Raw(_body(message.body)),
            {str(name): _plain(value) for name, value in message.headers.items() if not str(name).startswith(BROKERS_OWN)},
            {name: _plain(value) for name, value in message.properties.items()},
            redacted,
            discarded,
        )
    )


def read_line(line: bytes) -> tuple[Line, Message]:
    """What a line holds. Raises NotExported."""
    try:
        read = msgspec.json.decode(line, type=Line)
        body = _read_body(bytes(read.body))
    except UNREADABLE as error:
        raise NotExported(f"is no line of an export: {error}") from None
    headers = {name: _valued(value) for name, value in read.headers.items()}
    properties = {name: _valued(value) for name, value in read.properties.items()}
    return read, Message(body, headers, properties)


def _body(body: bytes) -> bytes:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return msgspec.json.encode({"base64": base64.b64encode(body).decode()})
    inline = b'{"json":' + body + b"}"
    if b"\n" not in body and b"\r" not in body and _comes_back(inline, body):
        return inline
    return msgspec.json.encode({"text": text})


def _comes_back(inline: bytes, body: bytes) -> bool:
    try:
        return _read_body(inline) == body
    except (*UNREADABLE, NotExported):
        return False


def _read_body(raw: bytes) -> bytes:
    members = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    if len(members) != 1:
        raise NotExported('has a body that is not one of {"json": …}, {"text": …} and {"base64": …}')
    ((kind, value),) = members.items()
    match kind:
        case "json":
            return bytes(value)
        case "text":
            return msgspec.json.decode(value, type=str).encode()
        case "base64":
            return msgspec.json.decode(value, type=bytes)
        case _:
            raise NotExported(f"has a body of the unknown kind {kind}")


def _plain(value: object) -> object:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return {"float": repr(value)}
        case Decimal():
            return {"decimal": str(value)}
        case datetime():
            return {"time": value.astimezone(UTC).isoformat().replace("+00:00", "Z")}
        case bytes():
            return {"base64": base64.b64encode(value).decode()}
        case list():
            return [_plain(each) for each in value]
        case dict():
            return {"table": {str(name): _plain(each) for name, each in value.items()}}
        case _:
            return str(value)


def _valued(plain: object) -> object:
    if isinstance(plain, list):
        return [_valued(each) for each in plain]
    if not isinstance(plain, dict):
        return plain
    if len(plain) != 1:
        raise NotExported("has a header that is an object of more than one member")
    ((kind, value),) = plain.items()
    try:
        return _of_kind(str(kind), value)
    except (ValueError, TypeError, InvalidOperation, binascii.Error):
        raise NotExported(f"has a header with no valid {kind}") from None


def _of_kind(kind: str, value: object) -> object:
    match kind, value:
        case "float", str():
            return float(value)
        case "decimal", str():
            return Decimal(value)
        case "time", str():
            return datetime.fromisoformat(value)
        case "base64", str():
            return base64.b64decode(value, validate=True)
        case "table", dict():
            return {str(name): _valued(each) for name, each in value.items()}
        case _:
            raise ValueError(kind)
