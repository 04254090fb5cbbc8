"""A JSON body for a person: indented, with the lines of one field marked."""

from __future__ import annotations

import json
from collections.abc import Iterator

MARK, PLAIN = "→ ", "  "
NO_JSON = (ValueError, RecursionError)


def marked(body: bytes, field: str) -> list[str] | None:
    """The lines of a body, those of the field at a path such as `data.price` begin with MARK; None where it is no JSON.

    Where the field itself is not there, the innermost object that should hold it is marked, at its first line.
    """
    try:
        value = json.loads(body)
        return list(_lines(value, "", _there(value, field), ""))
    except NO_JSON:
        return None


def _there(value: object, field: str) -> str:
    """The longest beginning of a path that leads somewhere; empty where nothing is meant."""
    path: list[str] = []
    for name in field.split(".") if field else ():
        if not isinstance(value, dict) or name not in value:
            break
        path.append(name)
        value = value[name]
    return ".".join(path)


def _lines(value: object, path: str, wanted: str, indent: str, name: str = "", end: str = "") -> Iterator[str]:
    """The lines of a value; `name` is what stands before it and `end` what stands behind it."""
    mark = MARK if path and path == wanted else PLAIN
    opening, closing = ("{", "}") if isinstance(value, dict) else ("[", "]")
    if not isinstance(value, dict | list) or not value:
        yield f"{mark}{indent}{name}{_text(value)}{end}"
        return
    yield f"{mark}{indent}{name}{opening}"
    members = list(value.items()) if isinstance(value, dict) else [("", each) for each in value]
    for number, (key, each) in enumerate(members, 1):
        inner = f"{path}.{key}" if path else str(key)
        label = f"{_text(key)}: " if isinstance(value, dict) else ""
        yield from _lines(each, inner if label else "", wanted, f"{indent}  ", label, "," if number < len(members) else "")
    yield f"{PLAIN}{indent}{closing}{end}"


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace").decode()
