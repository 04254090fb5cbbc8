"""All tasks of a project at once, where many of its work orders are unknown: one request instead of one for each.

A listing is good for a minute from when it was asked for. That may decide a creation: every creation of the worker's own since then
is in the ledger, as a task or as a doubt, and whoever is in doubt asks afresh.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from worker.cache import Cache
from worker.core.errors import ApiError
from worker.core.field import FIELDS
from worker.ports import Key, Task

GOOD_S = 60.0
MANY = 4
"""So many unknown work orders of a project within a minute are looked up one by one; from then on the project is listed."""

MOST_LISTINGS = 16
MOST_COUNTED = 10_000
IDENTITY = ("id", "projectId", "externalId")


class Listing(msgspec.Struct, frozen=True):
    """The tasks of a project by externalId, and when (seconds of the clock) they were asked for. None: it could not be listed."""

    began: float
    tasks: dict[str, list[Task]] | None


class Listings:
    """`list_project` gives all tasks of a project, by its id; `now` the seconds of a clock that only goes forward."""

    def __init__(self, list_project: Callable[[str], Awaitable[Sequence[Task]]], now: Callable[[], float]) -> None:
        self._list_project = list_project
        self._now = now
        self._listings: Cache[str, Listing] = Cache(now, found_s=GOOD_S, absent_s=0, limit=MOST_LISTINGS)
        self._unknown: OrderedDict[str, tuple[float, int]] = OrderedDict()

    async def find(self, key: Key) -> Sequence[Task] | None:
        """The tasks of a work order that is not known, if it is one of many; None: it must be looked up by itself. Raises Outage."""
        listed = self._good(key.project_id)
        if listed is None:
            if not self._one_of_many(key.project_id):
                return None
            listed = await self._listings.get(key.project_id, lambda: self._list(key.project_id))
        if listed is None or listed.tasks is None or listed.began + GOOD_S <= self._now():
            return None
        return listed.tasks.get(key.external_id, ())

    def gone(self, key: Key) -> None:
        """A task of this work order was deleted: a listing that still shows it is wrong."""
        listed = self._good(key.project_id)
        if listed is not None and listed.tasks is not None:
            listed.tasks.pop(key.external_id, None)

    def _good(self, project_id: str) -> Listing | None:
        answer = self._listings.peek(project_id)
        return answer[0] if answer and answer[0] and answer[0].began + GOOD_S > self._now() else None

    def _one_of_many(self, project_id: str) -> bool:
        now = self._now()
        since, count = self._unknown.get(project_id, (now, 0))
        if now - since > GOOD_S:
            since, count = now, 0
        self._unknown[project_id] = since, count + 1
        self._unknown.move_to_end(project_id)
        while len(self._unknown) > MOST_COUNTED:
            self._unknown.popitem(last=False)
        return count >= MANY

    async def _list(self, project_id: str) -> Listing:
        began = self._now()
        try:
            listed = await self._list_project(project_id)
        except ApiError:  # too large, perhaps; one by one goes on
            return Listing(began, None)
        tasks: dict[str, list[Task]] = {}
        for task in listed:
            if all(isinstance(task.get(name), str) for name in IDENTITY) and task["projectId"] == project_id:
                tasks.setdefault(str(task["externalId"]), []).append(_lean(task))
        return Listing(began, tasks)


def _lean(task: Task) -> Task:
    """What the worker looks at: thousands of tasks are kept for a minute."""
    return {name: task[name] for name in (*IDENTITY, *FIELDS) if task.get(name) is not None}
