"""The 12 task operations, by Ditio's work-order page.

The template fills the gaps of a POST, a PUT resets what it leaves out, a PATCH leaves it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from worker.sandbox.fields import DATES, FIELDS, FROM_TEMPLATE, IDENTITY, defaults, shown_date, taken
from worker.sandbox.message import Refusal, Reply, answer
from worker.sandbox.options import Options
from worker.sandbox.state import State, Thing


class Tasks:
    """The operations on a state. `now` in seconds since 1970. Every one may raise Refusal."""

    def __init__(self, state: State, options: Callable[[], Options], now: Callable[[], float]) -> None:
        self.state = state
        self._options = options
        self._now = now

    # --- writing

    def create(self, body: Any) -> Reply:
        """POST tasks."""
        given = self._object(body)
        project = self._project(given)
        external_id = self._external_id(given)
        if project.get("subProjectRequired"):
            raise Refusal(400, "Prosjektet krever underprosjektnummer", "subProjectNumber")
        task_id = self._free_id(given)
        twins = self.state.with_key(project["id"], external_id)
        if twins and self._options().duplicate != "allow":
            raise Refusal(int(self._options().duplicate), f"Ordre {external_id} finnes allerede i prosjektet", "externalId")
        values = {name: value for name, value in taken(given).items() if value is not None}
        template = {name: value for name, value in self.state.templates.get(project["id"], {}).items() if name in FROM_TEMPLATE}
        identity = {"id": task_id, "companyId": project["companyId"], "projectId": project["id"], "externalId": external_id}
        task = {**defaults(), **template, **values, **identity}
        self._check(task)
        self.state.put(task)
        self.state.seen_at[task_id] = self._now() + self._options().lag_s
        match self._options().create_answer:
            case "nothing":
                return Reply(204)
            case "array":
                return answer([self.shown(task)], 201)
        return answer(self.shown(task), 201)

    def replace(self, task_id: str, body: Any) -> Reply:
        """PUT tasks/{id}: what is left out is reset, the template is not consulted; other settings go by their option."""
        before, given = self._task(task_id), self._object(body)
        source = before if self._options().other_settings == "stay" else given
        kept = {name: value for name, value in source.items() if name in FROM_TEMPLATE and name not in FIELDS}
        values = {name: value for name, value in taken(given).items() if value is not None}
        return self._changed(before, {**defaults(), **kept, **values, **self._identity(before, given)})

    def update(self, task_id: str, body: Any) -> Reply:
        """PATCH tasks/{id}: null keeps."""
        before, given = self._task(task_id), self._object(body)
        values = {name: value for name, value in taken(given).items() if value is not None}
        if self._options().patch_empty == "keep":
            values = {name: value for name, value in values.items() if value != "" or name == "parentActivityId"}
        return self._changed(before, {**before, **values, **self._identity(before, given)})

    def delete(self, task_id: str) -> Reply:
        """DELETE tasks/{id}: not recursive, and blocked by children and hours."""
        self._task(task_id)
        if self.state.children(task_id) or self.state.hours.get(task_id):
            raise Refusal(int(self._options().delete_blocked), "Ordren har underordrer eller timer og kan ikke slettes")
        self.state.remove(task_id)
        return Reply(204)

    # --- reading

    def get(self, task_id: str) -> Reply:
        """GET tasks/{id}."""
        return self._one([self._task(task_id)])

    def of_project(self, project_id: str) -> Reply:
        """GET tasks/project/{projectId}."""
        if project_id not in self.state.projects:
            raise Refusal(404, "Prosjektet finnes ikke")
        return self._all(self.state.of_project(project_id))

    def of_project_number(self, number: str) -> Reply:
        """GET tasks/by-project-number/{projectNumber}."""
        return self._all(self._in_projects("projectNumber", number))

    def of_external_number(self, number: str) -> Reply:
        """GET tasks/by-external-project-number/{externalProjectNumber}."""
        return self._all(self._with_external_number(number))

    def by_number(self, number: str, external_id: str, *, every: bool) -> Reply:
        """GET tasks/by-project-number/{projectNumber}/by-task-number/{taskNumber}, with and without /list."""
        return self._matches(self._in_projects("projectNumber", number), external_id, every=every)

    def by_external_number(self, number: str, external_id: str) -> Reply:
        """GET tasks/by-external-project-number/{externalProjectNumber}/by-external-id/{externalId}."""
        return self._matches(self._with_external_number(number), external_id, every=False)

    def by_production_code(self, code: str) -> Reply:
        """GET tasks/by-production-code/{externalDim01}."""
        return self._all([task for task in self.state.tasks.values() if self.same(task.get("externalDim01") or "", code)])

    def shown(self, task: Thing) -> Thing:
        """A task as answers have it."""
        form = self._options().dates
        return {name: shown_date(value, form) if name in DATES and value else value for name, value in task.items()}

    # --- checks

    def _object(self, body: Any) -> Mapping[str, Any]:
        if not isinstance(body, dict):
            raise Refusal(400, "The body is not an object")
        return body

    def _task(self, task_id: str) -> Thing:
        if task_id not in self.state.tasks:
            raise Refusal(404, "Ordren finnes ikke")
        return self.state.tasks[task_id]

    def _project(self, given: Mapping[str, Any]) -> Thing:
        if given.get("companyId") != self._options().company_id:
            raise Refusal(400 if not given.get("companyId") else 404, "Ugyldig companyId", "companyId")
        if not given.get("projectId"):
            raise Refusal(400, "projectId mangler", "projectId")
        project = self.state.projects.get(given["projectId"])
        if project is None or project["companyId"] != given["companyId"]:
            raise Refusal(404, "Prosjektet finnes ikke")
        return project

    def _external_id(self, given: Mapping[str, Any]) -> str:
        external_id = given.get("externalId")
        if not isinstance(external_id, str) or not external_id:
            raise Refusal(400, "externalId mangler", "externalId")
        return external_id

    def _free_id(self, given: Mapping[str, Any]) -> str:
        supplied = given.get("id")
        if not supplied or self._options().client_ids == "ignore":
            return self.state.new_id()
        if supplied in self.state.tasks:
            raise Refusal(400, "id finnes allerede", "id")
        return str(supplied)

    def _identity(self, before: Thing, given: Mapping[str, Any]) -> Thing:
        """Company, project and externalId after an update; the id of the body is ignored."""
        identity = {name: given.get(name) or before[name] for name in IDENTITY}
        self._external_id(identity)
        if any(given.get(name) not in (None, "", before[name]) for name in ("companyId", "projectId")):
            self._project(identity)
            if identity["projectId"] != before["projectId"] and self.state.children(before["id"]):
                raise Refusal(400, "En ordre med underordrer kan ikke flyttes", "projectId")
        return {**identity, "id": before["id"]}

    def _check(self, task: Thing) -> None:
        self._check_people(task)
        self._check_parent(task)

    def _check_people(self, task: Thing) -> None:
        rule = self._options().person_id
        ids = {user[rule] for user in self.state.users.values()} if rule != "any" else set()
        for name in ("mainForemanId", "taskLeaderId"):
            if rule != "any" and task.get(name) and task[name] not in ids:
                raise Refusal(400, "Ukjent person", name)

    def _check_parent(self, task: Thing) -> None:
        parent_id, above = task.get("parentActivityId"), set[str]()
        if not parent_id:
            task["parentActivityId"] = None
            return
        parent = self.state.tasks.get(parent_id)
        if parent is None or parent["projectId"] != task["projectId"]:
            raise Refusal(404, "Overordnet ordre finnes ikke i prosjektet")
        while parent is not None and parent["id"] not in above:
            above.add(parent["id"])
            parent = self.state.tasks.get(parent.get("parentActivityId") or "")
        if task["id"] in above:
            raise Refusal(400, "En ordre kan ikke ligge under seg selv", "parentActivityId")

    def _changed(self, before: Thing, task: Thing) -> Reply:
        self._check(task)
        twins = [each["id"] for each in self.state.with_key(task["projectId"], task["externalId"])]
        if twins and before["id"] not in twins:
            raise Refusal(400, "externalId finnes allerede", "externalId")
        self.state.put(task)
        return Reply(204) if self._options().update_answer == "nothing" else self._one([task])

    # --- look-ups

    def projects(self) -> list[Thing]:
        """The projects that the client sees, by the option `companies`."""
        ours = self._options().company_id if self._options().companies == "one" else None
        return [each for each in self.state.projects.values() if ours in (None, each["companyId"])]

    def _in_projects(self, name: str, number: str) -> list[Thing]:
        projects = [each["id"] for each in self.projects() if self.same(str(each.get(name) or ""), number)]
        return [task for project_id in projects for task in self.state.of_project(project_id)]

    def _with_external_number(self, number: str) -> list[Thing]:
        rule = self._options().external_number
        by_project = self._in_projects("externalProjectNumber", number) if rule != "task" else []
        own = [task for task in self.state.tasks.values() if self.same(task.get("externalProjectNumber") or "", number)]
        return list({task["id"]: task for task in (*by_project, *(own if rule != "project" else ()))}.values())

    def _matches(self, tasks: list[Thing], external_id: str, *, every: bool) -> Reply:
        found = [task for task in tasks if self.same(task["externalId"], external_id) and self._seen(task)]
        if not found:
            return self._nothing()
        return answer([self.shown(task) for task in found]) if every else self._one(found)

    def _nothing(self) -> Reply:
        match self._options().no_match:
            case "null":
                return answer(None)
            case "nothing":
                return Reply(200)
            case "array":
                return answer([])
        raise Refusal(404, "Ordren finnes ikke")

    def _one(self, found: list[Thing]) -> Reply:
        shown = self.shown(found[0])
        return answer([shown] if self._options().single == "array" else shown)

    def _all(self, tasks: list[Thing]) -> Reply:
        return answer([self.shown(task) for task in tasks if self._seen(task)])

    def _seen(self, task: Thing) -> bool:
        return self.state.seen_at.get(task["id"], 0.0) <= self._now()

    def same(self, stored: str, asked: str) -> bool:
        """Whether a stored key is the one asked for, by the option `key_case`."""
        return stored == asked if self._options().key_case == "exact" else stored.casefold() == asked.casefold()
