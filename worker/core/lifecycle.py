"""The life of a worker: its states and what leads from one to the next."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

Phase: TypeAlias = Literal["starting", "taking", "half-open", "paused", "draining", "ended"]
"""`half-open`: one event at a time is taken, to see whether Ditio takes writes again. `paused`: nothing is, for one cause or several."""

Turn: TypeAlias = Literal["well", "trouble", "one at a time", "write succeeds", "held too long", "stop", "drained"]
"""`well`: no cause is left. `one at a time`: none is left but the one that only an event can show to be over.
`held too long`: what is held goes back, and the queue is taken anew."""

TRANSITIONS: Mapping[Phase, Mapping[Turn, Phase]] = MappingProxyType(
    {
        "starting": {"well": "taking", "trouble": "paused", "stop": "draining"},
        "taking": {"held too long": "taking", "trouble": "paused", "stop": "draining"},
        "paused": {"well": "taking", "one at a time": "half-open", "stop": "draining"},
        "half-open": {"write succeeds": "taking", "trouble": "paused", "stop": "draining"},
        "draining": {"drained": "ended"},
        "ended": {},
    }
)
