"""Requests and replies as plain values, so that the sandbox can be driven with and without HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote


@dataclass(frozen=True)
class Request:
    """`path` as it was on the wire, percent-encoded; header names in small letters."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        """The body. Raises Refusal (400)."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise Refusal(400, "The body is not JSON") from None


@dataclass(frozen=True)
class Reply:
    """`delay_s` passes before it is sent; `drop`: the connection is closed instead."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drop: bool = False


class Refusal(Exception):
    """An answer of 4xx. The shape of its body is one of those that Ditio documents."""

    def __init__(self, status: int, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"error": _names.get(status, "Error"), "message": message}
        if field is not None:
            self.body = {"message": message, "errors": [{"field": field, "code": "Invalid", "message": message}]}


_names = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 422: "Unprocessable"}

SlashRule = Literal["accept", "400", "404", "split"]


def segments(path: str, encoded_slash: str) -> tuple[str, ...]:
    """The decoded segments of a path; `.` and `..` walk, however they are encoded, as servers make them. Raises Refusal."""
    walked: list[str] = []
    for raw in path.partition("?")[0].split("/")[1:]:
        if "%2f" in raw.lower() and encoded_slash in ("400", "404"):
            raise Refusal(int(encoded_slash), "The path holds an encoded slash")
        decoded = unquote(raw)
        if decoded == "..":
            walked = walked[:-1]
        elif decoded != ".":
            walked += decoded.split("/") if encoded_slash == "split" else [decoded]
    return tuple(walked)


def answer(value: Any, status: int = 200) -> Reply:
    """A JSON answer."""
    return Reply(status, json.dumps(value, ensure_ascii=False).encode(), {"Content-Type": "application/json; charset=utf-8"})
