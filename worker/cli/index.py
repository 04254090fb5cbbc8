"""What commands tell the ledger's index of dead letters, so that the worker's gauges follow at once."""

from __future__ import annotations

from collections.abc import Sequence

from worker.cli.terminal import Terminal
from worker.config import Settings


async def noted_removal(ids: Sequence[str], settings: Settings, terminal: Terminal) -> None:
    """Takes letters out of the index. Where that cannot be done here, the worker does it when it next counts."""
    from worker import ledger  # noqa: PLC0415 - keeps --help fast
    from worker.clock import WallClock  # noqa: PLC0415
    from worker.core.errors import LedgerError  # noqa: PLC0415

    if not ids:
        return
    try:
        store = await ledger.open_beside(settings.ledger_url().place, clock=WallClock())
        try:
            await store.letters_removed(ids)
        finally:
            await store.close()
    except ledger.NoLedger:
        return
    except LedgerError as error:
        terminal.complain(f"the worker's gauges follow a little later: {error}")
