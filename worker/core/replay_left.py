"""What a letter is that an interrupted replay may have sent out: still a letter, or the copy of an event that went on without it.

A replay notes what it is about to publish, publishes, and takes the letter out when that is confirmed. A letter that is still there with
such a note was sent out, or was not. Each sign that it was is enough; that it was not is believed only where nothing can hide.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Verdict: TypeAlias = Literal["copy", "letter", "unsure"]

GRACE_S = 5.0
"""Seconds in which the broker may still read what a process sent that is no more, and a worker settles what it has in hand."""


class Signs(msgspec.Struct, frozen=True):
    """What is known of a letter with a note, looked at in this order: queues, dead letters, history.

    `queued`: it was seen in a wait queue or in that of the events; `hidden`: there are events that could not be looked at, because a
    worker takes them. `returned`: a letter is there that was replayed from it. `settled`: the history has an end of its event after
    the note. `age` is the note's, in seconds.
    """

    queued: bool
    hidden: bool
    returned: bool
    settled: bool
    age: float


def verdict(signs: Signs) -> Verdict:
    """Whether the letter is a copy, which may go; a letter like others; or not to be told yet, which leaves it where it is.

    A worker may have an event in hand for longer than is waited here. Then its letter goes out once more, which is harmless: both are
    one event, and should both come back, one of the two is a copy of the other.
    """
    if signs.returned or signs.settled or signs.queued:
        return "copy"
    return "unsure" if signs.hidden or signs.age < GRACE_S else "letter"
