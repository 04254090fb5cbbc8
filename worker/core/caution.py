"""What the notes that ended workers left behind say of a message, as a table.

A worker commits a note before it touches a suspect message, which it then handles alone, and takes it back when the message is settled,
when it has to wait for somebody else, and when it stops in order. So a note that stands says: a worker ended at this very message.

                      others that used up their notes since anything was last settled
    notes standing    none       one        more
    none              handle     handle     handle
    one or two        handle     handle     pause
    three             condemn    defer      pause

One message that breaks the worker is condemned. A second one in a row must wait until another was settled in between: then it is the
message. If a third breaks the worker too, it is the environment, and nobody is to blame.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from hashlib import sha256
from types import MappingProxyType

import msgspec

from worker.core.message import Message
from worker.core.outcome import Dead, Failure, Outcome, Waiting

ENOUGH = 3
"""So many notes left standing are proof: the next delivery is not touched."""

CROWD = 2
"""So many others in a row that used up their notes are proof against the environment."""


class Step(Enum):
    """What to do with a suspect message."""

    HANDLE = "handle"
    CONDEMN = "condemn"
    DEFER = "defer"
    PAUSE = "pause"


class Standing(msgspec.Struct, frozen=True):
    """What is held against a message.

    `notes` counts the workers that ended at it, since it was last settled. `condemned`: it used up its notes before, and was found guilty.
    `others` counts the other messages that used up theirs since anything was last settled.
    """

    notes: int = 0
    condemned: bool = False
    others: int = 0


TABLE: Mapping[tuple[int, int], Step] = MappingProxyType(
    {
        (0, 0): Step.HANDLE,
        (0, 1): Step.HANDLE,
        (0, 2): Step.HANDLE,
        (1, 0): Step.HANDLE,
        (1, 1): Step.HANDLE,
        (1, 2): Step.PAUSE,
        (2, 0): Step.HANDLE,
        (2, 1): Step.HANDLE,
        (2, 2): Step.PAUSE,
        (3, 0): Step.CONDEMN,
        (3, 1): Step.DEFER,
        (3, 2): Step.PAUSE,
    }
)
"""By notes (at most ENOUGH) and others (at most CROWD)."""


def step(standing: Standing) -> Step:
    """What to do with a message of which this is known."""
    if standing.condemned:
        return Step.CONDEMN
    return TABLE[min(standing.notes, ENOUGH), min(standing.others, CROWD)]


def mark(message: Message) -> str:
    """What a message is known by: its body, and the replay by which an operator gave it a new chance."""
    digest = sha256(message.body)
    replay = message.headers.get("replay-id")
    if isinstance(replay, str):
        digest.update(b"\0" + replay.encode(errors="replace"))
    return digest.hexdigest()


POISONOUS = Failure("poisonous", f"the worker ended {ENOUGH} times while it handled this message alone; it was not touched again")
DEFERRED = Failure(
    "poisonous",
    f"the worker ended {ENOUGH} times while it handled this message alone, but just before also at another: which of them, or neither, "
    "is at fault shows when something else has been settled",
)

ENDS: Mapping[Step, Outcome] = MappingProxyType({Step.CONDEMN: Dead(POISONOUS), Step.DEFER: Waiting("failing", DEFERRED)})
"""How a message ends that is not handled."""

ENVIRONMENT = (
    "the worker ended at several different messages in a row, and none was settled in between: the fault is not theirs but that of where it "
    "runs (memory limit, disk, installation); mend it, then restart the worker or say ditio-worker resume"
)
"""Why the worker pauses."""
