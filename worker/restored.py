"""Brings a ledger that was put back to an older state (a backup) up to what Ditio shows, before any event is taken.

Else an event whose values the old records hold already would be taken for done, though Ditio holds newer ones by now.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from worker.core.errors import ApiError, Missing, Outage, Refused
from worker.core.plan import Policy, shown_by_task
from worker.core.record import Record
from worker.core.restored import as_shown
from worker.ledger import Store
from worker.ports import Ditio, Task, WorkOrder
from worker.round import family_of

log = logging.getLogger("worker.restored")


class Restored:
    """Compares once, when the ledger says that it was put back."""

    def __init__(self, store: Store, ditio: Ditio, policy: Policy) -> None:
        self._store = store
        self._ditio = ditio
        self._policy = policy

    async def settle(self) -> None:
        """Returns when the records can be believed. Raises Outage, LedgerError; trying again begins anew."""
        if not await self._store.restored():
            return
        log.warning("the ledger was put back to an older state: its records are compared with what Ditio shows")
        count = 0
        for project_id in await self._store.projects():
            orders = await self._store.of_project(project_id)
            await self._store.rebase(self._compared(orders, await self._listed(project_id)))
            count += len(orders)
        await self._store.believe()
        log.warning("compared %d work orders with Ditio; events are taken", count)

    async def _listed(self, project_id: str) -> Sequence[Task] | None:
        """The tasks of a project; None when Ditio does not show them."""
        try:
            return await self._ditio.tasks_of_project(project_id)
        except (Refused, Missing) as error:
            log.warning("the tasks of project %s cannot be listed, so its records are forgotten: %s", project_id, error)
            return None
        except ApiError as error:
            raise Outage("circuit", f"the ledger cannot be compared with Ditio yet: {error}") from error

    def _compared(self, orders: Sequence[WorkOrder], tasks: Sequence[Task] | None) -> Sequence[WorkOrder]:
        if tasks is None:
            return [msgspec.structs.replace(order, record=Record()) for order in orders]
        by_id = {str(task["id"]): task for task in tasks}
        by_key = {str(task.get("externalId")): task for task in tasks}
        found = [(order, by_id.get(order.task_id or "") or by_key.get(order.key.external_id)) for order in orders]
        # One that is not listed is left as it is: a call to it meets 404, which is dealt with there.
        return [
            msgspec.structs.replace(
                order, record=as_shown(order.record, shown_by_task(task), self._policy, family_of(order)), task_id=str(task["id"])
            )
            for order, task in found
            if task is not None
        ]
