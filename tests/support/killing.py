"""A command that is killed by itself at a chosen moment of a replay: `CRASH_AT=gap:passes python -m tests.support.killing dead replay …`.

    noted ─► (published) ─► confirmed ─► removed

The process ends by SIGKILL when a gap is passed for the given time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from tests.support.crashing import Fuse, after, before
from worker.cli import main
from worker.dead.replay_sending import Held
from worker.rabbit import Publisher

GAPS = ("noted", "confirmed", "removed")


def arm(gap: str, fuse: Fuse) -> None:
    """Puts the fuse into a gap."""
    match gap:
        case "noted":
            setattr(Publisher, "publish", before(Publisher.publish, fuse))
        case "confirmed":
            setattr(Held, "remove", before(Held.remove, fuse))
        case "removed":
            setattr(Held, "remove", after(Held.remove, fuse))
        case _:
            raise SystemExit(f"no such gap: {gap}")


def words(*more: str) -> Sequence[str]:
    """The command line of a replay that nobody watches."""
    return ("-m", "tests.support.killing", "dead", "replay", "--yes", *more)


if __name__ == "__main__":
    if at := os.environ.get("CRASH_AT"):
        name, _, count = at.partition(":")
        arm(name, Fuse(int(count)))
    sys.exit(main(sys.argv[1:]))
