"""Scripted faults: what shall go wrong, with which operation, and how often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

EVER = -1


@dataclass(frozen=True)
class Fault:
    """One kind of fault. The first that matches a request is used.

    `operation` is its name or `*`; `external_id` restricts it to requests that name this work order; `skip` requests pass first,
    then it strikes `count` times (-1: ever). The reply comes after `delay_s`; a `status` replaces it (with `headers` and `body`), and the
    request then does nothing. `drop`: the connection is closed `before` or `after` the request takes effect, without a reply.
    `late_s`: it takes effect only after so many seconds; until the client gives up, or for `delay_s`, there is no reply, and then a drop.
    `lag_s`: what a creation makes is missing from look-ups by key and from listings for so long.
    """

    operation: str = "*"
    external_id: str = ""
    skip: int = 0
    count: int = 1
    delay_s: float = 0.0
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    drop: str = ""
    late_s: float = 0.0
    lag_s: float = 0.0


NAMES = {each.name for each in fields(Fault)}


class Faults:
    """The faults that are set, in order."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, given: Mapping[str, Any]) -> None:
        """Sets another fault. Raises ValueError with a sentence."""
        if unknown := given.keys() - NAMES:
            raise ValueError(f"unknown in a fault: {', '.join(sorted(unknown))}; there are: {', '.join(sorted(NAMES))}")
        if given.get("drop", "") not in ("", "before", "after"):
            raise ValueError("drop: expected before or after")
        self._faults.append(Fault(**given))

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self._faults.clear()

    def listed(self) -> list[dict[str, Any]]:
        """What is set."""
        return [asdict(each) for each in self._faults]

    def take(self, operation: str, external_id: str) -> Fault | None:
        """The fault that strikes this request, which is thereby used up once."""
        for place, fault in enumerate(self._faults):
            if fault.operation not in ("*", operation) or (fault.external_id and fault.external_id != external_id):
                continue
            if fault.skip:
                self._faults[place] = replace(fault, skip=fault.skip - 1)
                continue
            if fault.count == 1:
                del self._faults[place]
            elif fault.count != EVER:
                self._faults[place] = replace(fault, count=fault.count - 1)
            return fault
        return None
