"""What a letter is that an interrupted replay may have sent out: still a letter, or the copy of an event that went on without it.

A replay notes what it is about to publish, publishes, and takes the letter out when that is confirmed. A letter that is still there with
such a note was sent out, or was not. Each sign that it was is enough; that it was not is believed only where nothing can hide.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Verdict: TypeAlias = Literal["copy", "letter", "unsure"]

GRACE_S = 5.0
"""Seconds in which the broker may still read what a process sent that is no more."""

HIDDEN_S = 600.0
"""Seconds after which a message is in no worker's hands any more: nothing is held longer than 5 minutes."""


class Signs(msgspec.Struct, frozen=True):
    """What is known of a letter with a note, looked at in this order: queues, dead letters, history.

    `queued`: it was seen in the queue of the events or a wait queue (None: not all of them could be looked through, because a worker
    takes from them). `idle`: the queue of the events is empty. `returned`: a letter is there that was replayed from it. `settled`: the
    history has an end of its event after the note. `age` is the note's, in seconds.
    """

    queued: bool | None
    idle: bool
    returned: bool
    settled: bool
    age: float


def verdict(signs: Signs) -> Verdict:
    """Whether the letter is a copy, which may go; a letter like others; or not to be told yet, which leaves it where it is."""
    if signs.returned or signs.settled or signs.queued:
        return "copy"
    looked = signs.queued is False and signs.age >= GRACE_S
    return "letter" if looked or (signs.idle and signs.age >= HIDDEN_S) else "unsure"
