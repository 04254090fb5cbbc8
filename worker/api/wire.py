"""What lies between the client and the network: one request out, one answer in.

Narrow, so that another transport can be measured against the present one, and a simulation can answer from memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from worker.core.errors import UnknownOutcome


class Received(NamedTuple):
    """An answer. The names of `headers` are found in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class TimedOut(UnknownOutcome):
    """No answer within the time limit."""


class Wire(Protocol):
    """Sends a request once: trying again, waiting and reading the answer are others' parts."""

    async def send(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None, within_s: float) -> Received:
        """The answer, all of it, within so many seconds; no redirect is followed. `url` goes out as it is, encoded already.

        Raises NotSent when the request certainly did not reach the server, else UnknownOutcome (TimedOut for want of time).
        """
        ...
