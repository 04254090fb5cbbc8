"""Keys as parts of a path."""

from __future__ import annotations

from urllib.parse import quote


def safe_in_path(key: str) -> bool:
    """Whether a key can be a segment of a path. `.` and `..` mean something there that no encoding can take away."""
    return key not in ("", ".", "..")


def path(*segments: str) -> str:
    """Segments joined: everything in them but letters, digits and `-._~` is percent-encoded. Raises ValueError if one is not safe."""
    if not all(map(safe_in_path, segments)):
        raise ValueError(f"no path can hold {segments!r}")
    return "/".join(quote(each, safe="") for each in segments)
