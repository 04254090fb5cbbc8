"""What a ledger in memory holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.ledger.entries import Aside, Binding, Indexed, Pause, Replaying, Run
from worker.ports import Happened, Key, WorkOrder


@dataclass
class Contents:
    """What outlives the closing of a ledger: handed to the next one, it is there again. `below` holds who lies under whom,
    `forgotten` counts the lines of history that were removed."""

    orders: dict[Key, WorkOrder] = field(default_factory=dict)
    seen: dict[tuple[str, str], int] = field(default_factory=dict)
    kept: dict[Key, dict[tuple[str, str], str]] = field(default_factory=dict)
    history: list[tuple[Key, Happened]] = field(default_factory=list)
    binding: Binding | None = None
    pause: Pause | None = None
    harms: dict[str, float] = field(default_factory=dict)
    asides: dict[tuple[str, str], Aside] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    restored: bool = False
    resumed: float = 0.0
    notes: dict[str, set[str]] = field(default_factory=dict)
    condemned: set[str] = field(default_factory=set)
    in_order: bool = False
    row: set[str] = field(default_factory=set)
    """Messages that used up their notes since anything was last settled."""
    below: dict[Key | str, dict[Key, None]] = field(default_factory=dict)
    letters: dict[str, Indexed] = field(default_factory=dict)
    replays: dict[str, Replaying] = field(default_factory=dict)
    forgotten: int = 0

    def put(self, order: WorkOrder) -> None:
        """Stores a work order, and where it lies."""
        if (before := self.orders.get(order.key)) is not None:
            for above in _above(before):
                self.below[above].pop(order.key, None)
        self.orders[order.key] = order
        for above in _above(order):
            self.below.setdefault(above, {})[order.key] = None

    def lies_under(self, order: WorkOrder) -> bool:
        """Whether any work order lies under this one."""
        return bool(self.below.get(order.key)) or (order.task_id is not None and bool(self.below.get(order.task_id)))

    def concerned(self, before: WorkOrder, after: WorkOrder) -> Sequence[Key]:
        """Those above and below for whom something follows from a change of place or of the task's id."""
        keys: list[Key] = []
        if (before.parent, before.parent_id) != (after.parent, after.parent_id):
            for order in (before, after):
                if order.parent is not None:
                    keys.append(Key(order.key.project_id, order.parent))
                elif order.parent_id is not None:
                    keys += [key for key in sorted(self.orders) if self.orders[key].task_id == order.parent_id]
        if after.task_id not in (None, before.task_id):
            keys += [key for key in self.below.get(after.key, ()) if self.orders[key].parent_id != after.task_id]
        return keys


def _above(order: WorkOrder) -> list[Key | str]:
    """What a work order lies under: a work order by its name, a task by its id."""
    named = [Key(order.key.project_id, order.parent)] if order.parent is not None else []
    return [*named, *([order.parent_id] if order.parent_id is not None else [])]
