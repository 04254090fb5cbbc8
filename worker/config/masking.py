"""What may be shown of a secret."""

from __future__ import annotations

import re
from urllib.parse import unquote

MASK = "***"
# Up to the last @ before the path: a password that should have been percent-encoded may hold one.
PASSWORD_IN_URL = re.compile(r"(?<=://)([^/\s:@]*):[^/\s]*@")
USER = re.compile(r"^[^/@:]*(:\*\*\*)?@")
PASSWORD_IN_QUERY = re.compile(r"([?&](?:password|passwd|sslpassword|secret|token)=)[^&\s,]*", re.IGNORECASE)
PASSWORD = re.compile(r"://[^/\s:@]*:([^/\s]*)@")
PAIR = re.compile(r"[?&]((?:password|passwd|sslpassword|secret|token)=[^&\s,]*)", re.IGNORECASE)


def masked(text: str) -> str:
    """A secret as it may be shown: of an address all but its passwords, of anything else nothing.

    An address whose password breaks the form (an unencoded `/` or `,`) is hidden as a whole.
    """
    if not text:
        return ""
    parts = [_address(part.strip()) for part in text.split(",")]
    return ",".join(part for part in parts if part) if all(parts) else MASK


def passwords(text: str) -> tuple[str, ...]:
    """The passwords in addresses, as they stand and decoded."""
    found = PASSWORD.findall(text) + [pair.partition("=")[2] for pair in PAIR.findall(text)]
    return tuple(dict.fromkeys(each for raw in found for each in (raw, unquote(raw)) if each))


def _address(text: str) -> str:
    shown = PASSWORD_IN_QUERY.sub(rf"\1{MASK}", PASSWORD_IN_URL.sub(rf"\1:{MASK}@", text))
    rest = USER.sub("", shown.partition("://")[2])
    return shown if "://" in shown and "@" not in rest else ""
