"""Every row of the tables of Ditio's work-order page, over HTTP: on the sandbox in contrary variants, or with --api-base on a real Ditio.

What the page leaves open (the form of an answer, how nothing is said, which 4xx) is taken in every form.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.page import FIELDS, LOOK_UPS, NEVER_INHERITED, REQUIRED, TEMPLATE, VARIANTS, same
from tests.support.reference import Ditio, Thing, new_project, objects, of_environment, opened, sandbox_process
from worker.api import Unobserved, open_api
from worker.clock import WallClock
from worker.core.errors import Refused
from worker.core.plan import Create, Delete, Replace, Update
from worker.ports import Project


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test on every variant of the sandbox, or once on the Ditio at --api-base."""
    if "ditio" in metafunc.fixturenames:
        variants = ["given"] if metafunc.config.getoption("--api-base") else list(VARIANTS)
        metafunc.parametrize("ditio", variants, indirect=True, scope="module")


@pytest.fixture(scope="module")
def ditio(request: pytest.FixtureRequest) -> Iterator[Ditio]:
    config = request.config
    if request.param == "given":
        env = of_environment(config.getoption("--api-base"))
        with opened(env, project_number=config.getoption("--project-number")) as given:
            yield given
        return
    with sandbox_process(VARIANTS[request.param]) as env, opened(env, env["DITIO_IDENTITY_BASE"]) as local:
        yield local


@pytest.fixture(scope="module")
def values(ditio: Ditio, request: pytest.FixtureRequest) -> Mapping[str, tuple[Any, Any]]:
    """Two values for each optional field that can be set here."""
    known: dict[str, tuple[Any, Any]] = {name: (first, second) for name, (_, first, second) in FIELDS.items()}
    known["parentActivityId"] = (ditio.create()["id"], ditio.create()["id"])
    if ditio.admin:
        people = ditio.behind_the_scenes("POST", "users", [{"employeeNumber": "1"}, {"employeeNumber": "2"}])
        rule = ditio.behind_the_scenes("GET", "options", None)["person_id"]
        kind = "identityId" if rule == "any" else rule
        known |= {name: tuple(each[kind] for each in people) for name in ("mainForemanId", "taskLeaderId")}
        known |= {"unitId": ("m3", "tonn"), "chapterId": ("K1", "K2")}
    for name, _, given in (each.partition("=") for each in request.config.getoption("--field-value")):
        known[name] = (given.split(",")[0], given.split(",")[-1])
    return {name: pair for name, pair in known.items() if pair[0] is not None}


def settable(name: str, values: Mapping[str, tuple[Any, Any]]) -> tuple[Any, Any]:
    if name not in values:
        pytest.skip(f"needs values of {name} that this Ditio has: --field-value {name}=ONE,OTHER")
    return values[name]


@pytest.fixture(scope="module")
def full(ditio: Ditio, values: Mapping[str, tuple[Any, Any]]) -> Thing:
    """A work order that was created with every field."""
    return ditio.create(**{name: first for name, (first, _) in values.items()})


@pytest.fixture(scope="module")
def template(ditio: Ditio, request: pytest.FixtureRequest) -> Iterator[Thing]:
    """What a template work order holds, and the `projectId` of its project."""
    if ditio.admin:
        project_id = new_project(ditio)["id"]
        unwanted: Thing = {"name": "Mal", "chapterId": "K9", "startDate": "2020-01-01T00:00:00Z", "estimatedHourQty": 9.0}
        ditio.behind_the_scenes("PUT", f"templates/{project_id}", {**TEMPLATE, **unwanted, "isTemplate": True})
        yield {**TEMPLATE, "projectId": project_id}
        assert ditio.clean_up() == []
        assert ditio.ask("DELETE", f"projects/{project_id}")[0] == 204
    elif task_id := request.config.getoption("--template-task"):
        yield ditio.get(task_id)
    else:
        pytest.skip("needs a project that has a template work order: --template-task ID, Ditio's id of that template")


# --- create


def test_what_was_created_is_answered_with_its_generated_id(ditio: Ditio) -> None:
    body = ditio.identity()
    status, answer = ditio.post(body)
    (task,) = objects(answer)
    assert status in (200, 201)
    assert len(task["id"]) == 24
    assert int(task["id"], 16) >= 0
    assert body.items() <= task.items()


@pytest.mark.parametrize("missing", REQUIRED)
def test_a_work_order_without_a_required_field_is_refused(ditio: Ditio, missing: str) -> None:
    body = {name: value for name, value in ditio.identity().items() if name != missing}
    status, answer = ditio.post(body)
    assert (400 <= status < 500, status in (401, 403, 429)) == (True, False), answer


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_that_is_set_at_creation_is_shown_in_its_type(
    full: Thing, values: Mapping[str, tuple[Any, Any]], name: str
) -> None:
    first, _ = settable(name, values)
    assert same(FIELDS[name][0], full[name], first), full[name]


def test_a_work_order_is_inactive_unless_it_says_otherwise(ditio: Ditio) -> None:
    assert ditio.create()["active"] is False


def test_without_a_token_nothing_is_shown_or_made(ditio: Ditio) -> None:
    authorization = ditio.client.headers.pop("Authorization")
    statuses = [ditio.ask("GET", "tasks/" + "0" * 24)[0], ditio.post(ditio.identity())[0]]
    ditio.client.headers["Authorization"] = authorization
    assert statuses == [401, 401]


def test_the_external_id_is_unique_within_the_project_or_all_matches_are_listed(ditio: Ditio) -> None:
    body = ditio.identity()
    (_, answer), (second, _) = ditio.post(body), ditio.post(body)
    listed = ditio.settled(path_of("all matches for number and task number", ditio, objects(answer)[0]), ditio.made[-1])
    assert len(listed) == (2 if second < 300 else 1)


def test_a_request_that_is_one_too_many_is_made_again(ditio: Ditio) -> None:
    if not ditio.admin:
        pytest.skip("needs the sandbox's scripted faults: nobody provokes a 429 elsewhere")
    ditio.behind_the_scenes(
        "POST", "faults", {"operation": "task_get", "status": 429, "headers": {"Retry-After": "0"}, "count": 2}
    )
    assert ditio.ask("GET", "tasks/" + "0" * 24)[0] == 404


# --- look up


def part(key: object) -> str:
    return quote(str(key), safe="")


def path_of(look_up: str, ditio: Ditio, task: Thing, **changes: str) -> str:
    external_number = ditio.project.get("externalProjectNumber")
    if "{external_number}" in LOOK_UPS[look_up] and not external_number:
        pytest.skip("needs a project that has an external number: --project-number names one")
    known = {
        "project_id": ditio.project["id"],
        "number": ditio.project["projectNumber"],
        "external_number": external_number,
        "id": task["id"],
        "key": task["externalId"],
        "code": task.get("externalDim01"),
    }
    return LOOK_UPS[look_up].format(**{name: part(value) for name, value in {**known, **changes}.items()})


@pytest.mark.parametrize("look_up", LOOK_UPS)
def test_each_look_up_shows_what_was_asked_for(ditio: Ditio, look_up: str) -> None:
    # Given
    number = ditio.project.get("externalProjectNumber")
    wanted, other = (ditio.create(externalDim01=ditio.key(), externalProjectNumber=number) for _ in range(2))
    # When
    both = look_up.startswith("all in a project")
    found = {task["id"]: task for task in ditio.settled(path_of(look_up, ditio, wanted), (other if both else wanted)["id"])}
    # Then
    assert {name: found[wanted["id"]][name] for name in REQUIRED} == {name: wanted[name] for name in REQUIRED}
    assert (other["id"] in found) == both


@pytest.mark.parametrize("look_up", [name for name, path in LOOK_UPS.items() if not path.startswith("tasks/project")])
def test_each_look_up_shows_nothing_of_what_is_not_there(ditio: Ditio, look_up: str) -> None:
    nothing = dict.fromkeys(("number", "external_number", "key", "code"), "finnes-ikke-" + ditio.run) | {"id": "0" * 24}
    assert ditio.found(path_of(look_up, ditio, {"id": "", "externalId": ""}, **nothing)) == []


@pytest.mark.parametrize("key", ["å ø/æ", "a?b#c%20d", "WO-100;1@x"])
def test_a_key_with_characters_that_mean_something_in_a_path_is_in_the_listing(ditio: Ditio, key: str) -> None:
    body = {**ditio.identity(), "externalId": f"{ditio.key()} {key}"}
    assert ditio.post(body)[0] in (200, 201)
    listed = ditio.settled(f"tasks/project/{ditio.project['id']}", ditio.made[-1])
    assert body["externalId"] in [task["externalId"] for task in listed]


# --- templates


@pytest.mark.parametrize("name", TEMPLATE)
def test_a_setting_that_is_left_out_comes_from_the_template(ditio: Ditio, template: Thing, name: str) -> None:
    if name not in template:
        pytest.skip(f"Ditio shows no field of that name in its template: the JSON name of {name} is not documented")
    assert ditio.create(project_id=template["projectId"])[name] == template[name]


@pytest.mark.parametrize("name", [name for name in TEMPLATE if name in FIELDS])
def test_a_setting_that_is_given_wins_over_the_template(
    ditio: Ditio, template: Thing, values: Mapping[str, tuple[Any, Any]], name: str
) -> None:
    given = next(value for value in settable(name, values) if value != template.get(name))
    assert same(FIELDS[name][0], ditio.create(project_id=template["projectId"], **{name: given})[name], given)


def test_identity_and_scope_never_come_from_the_template(ditio: Ditio, template: Thing) -> None:
    task = ditio.create(project_id=template["projectId"])
    assert [name for name in NEVER_INHERITED if task.get(name)] == []
    assert task["active"] is False


@pytest.mark.parametrize("flag", ["isTemplate", "template", "isTemplateTask"])
def test_what_the_api_creates_is_never_a_template(ditio: Ditio, template: Thing, flag: str) -> None:
    made = ditio.create(project_id=template["projectId"], **{flag: True})
    assert [name for name, value in made.items() if "template" in name.lower() and value is True] == []
    # And the next one takes nothing from it
    assert not ditio.create(project_id=template["projectId"]).get("name")


def test_a_replacement_does_not_ask_the_template(ditio: Ditio, template: Thing) -> None:
    task = ditio.create(project_id=template["projectId"])
    after = ditio.change("PUT", task["id"], {name: task[name] for name in REQUIRED})
    assert [name for name in TEMPLATE if name in FIELDS and after.get(name)] == []


# --- hierarchy


def test_work_orders_are_nested_below_a_parent(ditio: Ditio) -> None:
    # Given
    top = ditio.create(name="Masseflytting", isParent=True, active=True)
    # When
    middle = ditio.create(name="Graving", parentActivityId=top["id"], isParent=True)
    bottom = ditio.create(parentActivityId=middle["id"])
    # Then
    assert [each.get("parentActivityId") for each in (top, middle, bottom)] == [None, top["id"], middle["id"]]
    assert [each["isParent"] for each in (top, middle, bottom)] == [True, True, False]
    # And a work order moves below another one
    assert ditio.change("PATCH", bottom["id"], {"parentActivityId": top["id"]})["parentActivityId"] == top["id"]


def test_an_empty_parent_detaches_and_null_keeps(ditio: Ditio) -> None:
    parent = ditio.create(isParent=True)
    child = ditio.create(parentActivityId=parent["id"])
    assert ditio.change("PATCH", child["id"], {"parentActivityId": None})["parentActivityId"] == parent["id"]
    assert not ditio.change("PATCH", child["id"], {"parentActivityId": ""}).get("parentActivityId")


def test_a_parent_that_is_not_there_is_refused(ditio: Ditio) -> None:
    assert ditio.post({**ditio.identity(), "parentActivityId": "0" * 24})[0] in (400, 404)


# --- replace and change


@pytest.fixture(scope="module")
def replaced(ditio: Ditio, values: Mapping[str, tuple[Any, Any]]) -> Thing:
    """A work order that had every field, after a PUT of the required ones."""
    task = ditio.create(**{name: first for name, (first, _) in values.items()})
    return ditio.change("PUT", task["id"], {name: task[name] for name in REQUIRED})


@pytest.mark.parametrize("name", FIELDS)
def test_what_a_replacement_leaves_out_is_reset_to_its_default(replaced: Thing, name: str) -> None:
    documented = {"costPrice": 0, "safeJobAnalysisApprovalRequired": False, "active": False}
    assert not replaced.get(name)
    assert name not in documented or replaced[name] == documented[name]


@pytest.mark.parametrize("name", FIELDS)
def test_what_a_replacement_holds_is_set(ditio: Ditio, values: Mapping[str, tuple[Any, Any]], name: str) -> None:
    first, second = settable(name, values)
    task = ditio.create(**{name: first})
    after = ditio.change("PUT", task["id"], {**{each: task[each] for each in REQUIRED}, name: second, "id": "0" * 24})
    assert same(FIELDS[name][0], after[name], second), after[name]


@pytest.mark.parametrize("name", FIELDS)
def test_a_partial_update_changes_its_field_and_leaves_the_rest(
    ditio: Ditio, full: Thing, values: Mapping[str, tuple[Any, Any]], name: str
) -> None:
    first, second = settable(name, values)
    after = ditio.change("PATCH", full["id"], {name: second})
    back = ditio.change("PATCH", full["id"], {name: first})
    assert same(FIELDS[name][0], after[name], second), after[name]
    assert [each for each in FIELDS if each != name and after.get(each) != full.get(each)] == []
    assert {each: back.get(each) for each in FIELDS} == {each: full.get(each) for each in FIELDS}


def test_an_update_of_what_is_not_there_makes_nothing(ditio: Ditio) -> None:
    body = ditio.identity()
    assert [ditio.ask(method, "tasks/" + "0" * 24, body)[0] for method in ("PUT", "PATCH")] == [404, 404]
    assert body["externalId"] not in [task["externalId"] for task in ditio.found(f"tasks/project/{ditio.project['id']}")]


# --- delete


def test_a_deleted_work_order_is_gone_from_every_look_up_and_its_key_is_free(ditio: Ditio) -> None:
    # Given
    number = ditio.project.get("externalProjectNumber")
    task = ditio.create(externalDim01=ditio.key(), externalProjectNumber=number)
    # When
    assert ditio.ask("DELETE", f"tasks/{task['id']}")[0] in (200, 204)
    # Then
    paths = [path_of(look_up, ditio, task) for look_up in LOOK_UPS if number or "external_number" not in LOOK_UPS[look_up]]
    for path in paths:
        assert task["id"] not in [each["id"] for each in ditio.settled(path, task["id"], there=False)]
    assert ditio.ask("DELETE", f"tasks/{task['id']}")[0] == 404
    assert ditio.ask("PATCH", f"tasks/{task['id']}", {"name": "x"})[0] == 404
    assert ditio.post({**ditio.identity(), "externalId": task["externalId"]})[0] in (200, 201)


def test_a_work_order_with_children_is_not_deleted(ditio: Ditio) -> None:
    parent = ditio.create(isParent=True)
    child = ditio.create(parentActivityId=parent["id"])
    assert 400 <= ditio.ask("DELETE", f"tasks/{parent['id']}")[0] < 500
    assert [ditio.get(each["id"])["id"] for each in (parent, child)] == [parent["id"], child["id"]]


# --- the worker's own client


async def test_the_workers_client_carries_out_all_twelve_operations(ditio: Ditio) -> None:
    number, external = ditio.project["projectNumber"], ditio.project.get("externalProjectNumber") or f"X-{ditio.key()}"
    project = Project(ditio.project["id"], number, external, ditio.env["DITIO_COMPANY_ID"])
    key, code = ditio.key(), ditio.key()
    async with open_api(ditio.access(), WallClock(), Unobserved()) as api:
        # POST, and the eight look-ups
        values = {"name": "a", "workDescription": "x", "externalDim01": code, "externalProjectNumber": external}
        made = await api.send(Create(key, values), project)
        task_id = str(made.task and made.task["id"])
        ditio.made.append(task_id)
        ditio.settled(f"tasks/by-production-code/{code}", task_id)
        found = [
            await api.task_by_id(task_id),
            await api.task_by_number(number, key),
            await api.task_by_external_number(external, key),
            *await api.tasks_by_number(number, key),
            *await api.tasks_by_production_code(code),
        ]
        assert [each and each["id"] for each in found] == [task_id] * 5
        for listed in (
            await api.tasks_of_project(project.id),
            await api.tasks_of_project_number(number),
            await api.tasks_of_external_number(external),
        ):
            assert task_id in [each["id"] for each in listed]
        # PATCH, PUT, DELETE
        await api.send(Update(task_id, {"name": "b", "price": 5.0}), project)
        await api.send(Replace(task_id, {"name": "c", "workDescription": None}), project)
        changed = ditio.get(task_id)
        assert (changed["name"], changed["price"], changed["externalDim01"]) == ("c", 5.0, code)
        assert not changed.get("workDescription")
        await api.send(Delete(task_id), project)
        # Nothing is there any more
        ditio.settled(f"tasks/by-production-code/{code}", task_id, there=False)
        assert await api.task_by_number(number, key) is None
        assert await api.task_by_external_number(external, key) is None
        assert await api.tasks_by_production_code(code) == []
        for asked in (api.task_by_number, api.task_by_external_number):
            with pytest.raises(Refused, match="no path can hold"):
                await asked(number, "..")
