"""What is wrong with the world when everything has come to its end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tests.simulation.oracle import expected, same
from worker.sandbox.fields import defaults

if TYPE_CHECKING:
    from tests.simulation.world import World

REFERENCES = frozenset({"parentActivityId", "mainForemanId", "isParent"})
SETTLED = {"applied", "unchanged", "superseded"}


def wrongs(world: World) -> Iterator[str]:
    """Each in a sentence."""
    yield from _unaccounted(world)
    tasks = dict(world.tasks())
    counts = Counter(key for key, _ in world.tasks())
    yield from (f"{'/'.join(key)} is there {count} times" for key, count in counts.items() if count > 1)
    dead = _dead(world)
    # Of an event whose parent is not there the rest is applied.
    applied = (event for event in world.history.events if dead.get(event.id) in (None, "unresolved-parent"))
    for key, fields in expected(applied).items():
        yield from (f"{'/'.join(key)}: {text}" for text in _wrong_task(world, key, fields, tasks.get(key), dead))


def _dead(world: World) -> dict[str, str]:
    """The reasons of the letters, by event."""
    return {
        str(json.loads(stored.message.body)["id"]): str(stored.message.headers.get("failure-reason"))
        for stored in world.broker.dead.ready
    }


def _unaccounted(world: World) -> Iterator[str]:
    dead = _dead(world)
    for event in world.history.events:
        if event.id not in dead and not world.outcomes(event.id) & SETTLED:
            yield f"{event.id} never came to an end"
    for stored in world.broker.dead.ready:
        headers = stored.message.headers
        if headers.get("failure-reason") != "unresolved-parent":
            yield f"a dead letter in the end: {headers.get('failure-reason')}: {headers.get('failure-detail')}"


def _wrong_task(world: World, key: tuple[str, str], fields: Any, task: Any, dead: Mapping[str, str]) -> Iterator[str]:
    exists = fields["exists"]
    if exists == {True} and task is None:
        yield "is not in Ditio"
    if exists == {False} and task is not None and task["active"]:
        yield "is active, and should be gone"
    if exists != {True} or task is None:
        return
    for name, values in fields.items():
        if name not in ("exists", "parent", "mainForeman") and not any(
            same(task[name], value) for value in _allowed(world, name, values)
        ):
            yield f"{name} is {task[name]!r}, and should be {' or '.join(map(repr, values))}"
    yield from _wrong_references(world, key, fields, task, dead)
    for name, value in _untouched(world, key, task).items():
        if name not in fields and name not in REFERENCES and task[name] != value:
            yield f"{name} is {task[name]!r}, was {value!r}, and nobody sent it"


def _untouched(world: World, key: tuple[str, str], task: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a task held before the worker came to it, or was given by the template when the worker made it."""
    before = world.before.get(key)
    if before is not None and before["id"] == task["id"]:
        return before
    return {**defaults(), **world.sandbox.state.templates.get(task["projectId"], {}), "active": True}


def _allowed(world: World, name: str, values: set[Any]) -> set[Any]:
    """A reset `active` is that of a creation; dates are shown as days."""
    if name == "active" and world.history.on_delete == "delete":
        return {True if value is None else value for value in values} | ({True} if False in values else set())
    if name == "active":
        return {True if value is None else value for value in values}
    if name == "startDate":
        return {value and f"{value}T00:00:00Z" for value in values}
    return values


def _wrong_references(world: World, key: tuple[str, str], fields: Any, task: Any, dead: Mapping[str, str]) -> Iterator[str]:
    state = world.sandbox.state
    if "mainForeman" in fields and (task["mainForemanId"] or None) not in {
        value and f"auth0|{value}" for value in fields["mainForeman"]
    }:
        yield f"mainForemanId is {task['mainForemanId']!r}, and should be {fields['mainForeman']}"
    under = state.tasks.get(task["parentActivityId"] or "", {}).get("externalId")
    of_order = {event.id for event in world.history.events if (event.project, event.external_id) == key}
    if "parent" in fields and of_order.isdisjoint(dead) and under not in fields["parent"]:
        yield f"lies under {under!r}, and should under {fields['parent']}"
    if bool(task["isParent"]) != bool(state.children(task["id"])):
        yield f"isParent is {task['isParent']}, with {len(state.children(task['id']))} children"
