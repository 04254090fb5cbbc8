"""A worker that lost the lock on a work order asks nothing more of Ditio for it."""

from __future__ import annotations

import pytest

from tests.support.reconciling import client, reconciler
from worker.core.errors import LedgerError
from worker.core.event import Event, EventType, ProjectRef
from worker.core.stamp import Instant
from worker.ports import Key
from worker.round import Job
from worker.sandbox import Server


async def test_no_call_goes_out_once_the_lock_was_lost(ditio: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async with client(ditio) as api:
        parts, lookups, ledger = reconciler(api, ditio)
        project = await lookups.project(ProjectRef("number", "P-2026-001"))
        key = Key(project.id, "WO-1")
        event = Event(
            EventType.UPDATED, "/erp", "e-1", Instant(1_700_000_000), None, ProjectRef("id", project.id), "WO-1", {"name": "x"}
        )

        # Given
        def lost(asked: Key) -> None:
            raise LedgerError(f"the lock on {asked.external_id} was lost")

        monkeypatch.setattr(ledger, "assure", lost)
        # When
        with pytest.raises(LedgerError, match="lock on WO-1 was lost"):
            await parts.reconcile(project, key, [Job(event, event.stamp(1))])
        # Then
        assert ditio.sandbox.state.tasks == {}
        # And once it is held again it does
        monkeypatch.undo()
        await parts.reconcile(project, key, [Job(event, event.stamp(1))])
        assert [task["externalId"] for task in ditio.sandbox.state.tasks.values()] == ["WO-1"]
