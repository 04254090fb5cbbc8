"""Takes out what an interrupted replay left behind, before a command looks at the dead letters."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from worker.config import Settings
from worker.core.errors import LedgerError

if TYPE_CHECKING:  # slow to import, and --help does without
    from worker.dead import Desk


async def tidied(at: Desk, settings: Settings) -> None:
    """Takes out the letters whose events went on without them, where the ledger knows of any; what is not certain stays, for a later command.

    Raises BrokerError. Without a ledger nothing is taken out: such a letter is then one like others, and its event says nothing new.
    """
    from worker import ledger  # noqa: PLC0415
    from worker.clock import WallClock  # noqa: PLC0415
    from worker.dead.replay_left import tidy  # noqa: PLC0415
    from worker.wiring import topology_of  # noqa: PLC0415

    if not hasattr(settings, "ledger_url"):
        return
    try:
        notes = await ledger.open_beside(settings.ledger_url().place, clock=WallClock())
    except LedgerError:
        return
    try:
        removed = (await tidy(at, notes, topology_of(settings))).removed
    except LedgerError as error:
        print(f"what an interrupted replay may have left could not be told: {error}", file=sys.stderr)
    else:
        if removed:
            print(f"{len(removed)} letters that an interrupted replay had sent out were taken out", file=sys.stderr)
    finally:
        await notes.close()
