"""The local Ditio keeps the documented rules, and plays the variants of what is not documented."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.sandbox import Options, Request, Sandbox, Server, State, main, serve
from worker.sandbox.admin import administer
from worker.sandbox.seed import seed


class Ditio:
    """A sandbox with a project, driven without HTTP, on a clock that stands."""

    def __init__(self, **options: Any) -> None:
        self.now = 1_000_000.0
        self.sandbox = Sandbox(Options().changed(options), lambda: self.now)
        self.project = self.put_in("projects", {"projectNumber": "P-1", "externalProjectNumber": "X-1"})[0]["id"]
        form = {
            "grant_type": "client_credentials",
            "client_id": "sandbox",
            "client_secret": "sandbox-secret",
            "scope": "ditioapiv3",
        }
        reply = self.sandbox.handle(Request("POST", "/connect/token", body=urlencode(form).encode()))
        self.token = json.loads(reply.body)["access_token"]

    def put_in(self, what: str, thing: object) -> Any:
        """Puts a thing in from behind the scenes."""
        reply = administer(self.sandbox, Request("POST", f"/_sandbox/{what}", body=json.dumps(thing).encode()))
        return json.loads(reply.body) if reply.body else None

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """The status and JSON of an answer (None: no body)."""
        content = b"" if body is None else json.dumps(body).encode()
        reply = self.sandbox.handle(
            Request(method, f"/core/api/v4/integration/{path}", {"authorization": f"Bearer {self.token}"}, content)
        )
        return reply.status, json.loads(reply.body) if reply.body else None

    def create(self, external_id: str = "WO-1", **values: object) -> tuple[int, Any]:
        """POST tasks."""
        identity = {"companyId": self.sandbox.options.company_id, "projectId": self.project, "externalId": external_id}
        return self.ask("POST", "tasks", {**identity, **values})

    def made(self, external_id: str = "WO-1", **values: object) -> str:
        """The id of a new task."""
        status, task = self.create(external_id, **values)
        assert status == 201, task
        return str(task["id"])


@pytest.fixture
def ditio() -> Ditio:
    return Ditio()


# --- tokens


def test_without_a_good_token_nothing_is_answered(ditio: Ditio) -> None:
    ditio.token = "made up"
    assert ditio.ask("GET", "projects")[0] == 401


def test_a_token_ends_when_its_time_is_over(ditio: Ditio) -> None:
    assert ditio.ask("GET", "projects")[0] == 200
    ditio.now += 1801
    assert ditio.ask("GET", "projects")[0] == 401


@pytest.mark.parametrize(
    ("wrong", "error"), [("client_secret", "invalid_client"), ("client_id", "invalid_client"), ("scope", "invalid_scope")]
)
def test_a_wrong_client_or_scope_is_refused_as_documented(ditio: Ditio, wrong: str, error: str) -> None:
    form = {"grant_type": "client_credentials", "client_id": "sandbox", "client_secret": "sandbox-secret", "scope": "ditioapiv3"}
    reply = ditio.sandbox.handle(Request("POST", "/connect/token", body=urlencode({**form, wrong: "no"}).encode()))
    assert (reply.status, json.loads(reply.body)) == (400, {"error": error})


# --- the 12 operations


def test_a_new_task_has_the_documented_defaults_and_an_id_of_24_hex_digits(ditio: Ditio) -> None:
    status, task = ditio.create(name="Graving")
    assert status == 201
    assert len(task["id"]) == 24
    assert int(task["id"], 16)
    assert (task["active"], task["costPrice"], task["name"], task["startDate"]) == (False, 0.0, "Graving", None)


@pytest.mark.parametrize("missing", ["companyId", "projectId", "externalId"])
def test_a_required_field_that_is_missing_is_a_400(ditio: Ditio, missing: str) -> None:
    identity = {"companyId": ditio.sandbox.options.company_id, "projectId": ditio.project, "externalId": "WO-1"}
    assert ditio.ask("POST", "tasks", {**identity, missing: None})[0] == 400


@pytest.mark.parametrize("wrong", [{"price": "5"}, {"active": "true"}, {"name": 5}, {"startDate": "soon"}, {"price": True}])
def test_a_value_of_the_wrong_kind_is_a_400_that_names_the_field(ditio: Ditio, wrong: dict[str, object]) -> None:
    status, error = ditio.create("WO-1", **wrong)
    assert status == 400
    assert error["errors"][0]["field"] == next(iter(wrong))


def test_the_payload_wins_and_the_template_fills_the_gaps_of_a_post_only(ditio: Ditio) -> None:
    # Given
    template = {"price": 950.0, "costPrice": 720.0, "name": "mal", "textRequired": True}
    administer(ditio.sandbox, Request("PUT", f"/_sandbox/templates/{ditio.project}", body=json.dumps(template).encode()))
    # When
    _, task = ditio.create(price=5)
    # Then
    assert (task["price"], task["costPrice"], task["name"], task["textRequired"]) == (5.0, 720.0, None, True)
    # And a PUT does not consult it
    _, task = ditio.ask("PUT", f"tasks/{task['id']}", {"name": "ny"})
    assert (task["name"], task["price"], task["costPrice"], task["textRequired"]) == ("ny", 0.0, 0.0, True)


def test_a_patch_changes_what_it_names_and_null_keeps(ditio: Ditio) -> None:
    task_id = ditio.made(name="a", price=5, active=True)
    _, task = ditio.ask("PATCH", f"tasks/{task_id}", {"name": "b", "price": None, "id": "other"})
    assert (task["id"], task["name"], task["price"], task["active"]) == (task_id, "b", 5.0, True)


def test_a_put_resets_what_it_leaves_out(ditio: Ditio) -> None:
    task_id = ditio.made(name="a", price=5, active=True, startDate="2026-03-15T00:00:00Z")
    _, task = ditio.ask("PUT", f"tasks/{task_id}", {"name": "b"})
    assert (task["name"], task["price"], task["active"], task["startDate"]) == ("b", 0.0, False, None)
    assert (task["externalId"], task["projectId"]) == ("WO-1", ditio.project)


@pytest.mark.parametrize(("rule", "kept", "given"), [("stay", True, True), ("reset", None, False)])
def test_a_put_does_to_settings_beyond_the_pages_fields_what_the_option_says(rule: str, kept: object, given: object) -> None:
    ditio = Ditio(other_settings=rule)
    administer(ditio.sandbox, Request("PUT", f"/_sandbox/templates/{ditio.project}", body=b'{"textRequired": true}'))
    task_id = ditio.made()
    assert ditio.ask("PUT", f"tasks/{task_id}", {"textRequired": False})[1]["textRequired"] is given
    task_id = ditio.made("WO-2")
    assert ditio.ask("PUT", f"tasks/{task_id}", {"name": "b"})[1].get("textRequired") is kept


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_an_update_takes_no_foreign_company_no_other_ones_key_and_no_number_for_a_key(ditio: Ditio, method: str) -> None:
    # Given two projects with a work order of the same key
    other = ditio.put_in("projects", {"projectNumber": "P-2"})[0]["id"]
    company = ditio.sandbox.options.company_id
    task_id = ditio.made()
    assert ditio.ask("POST", "tasks", {"companyId": company, "projectId": other, "externalId": "WO-1"})[0] == 201
    # Then
    for wrong, status in (
        ({"companyId": "5f" * 12}, 404),
        ({"projectId": "5f" * 12}, 404),
        ({"projectId": other}, 400),
        ({"externalId": 5}, 400),
    ):
        before = dict(ditio.sandbox.state.tasks[task_id])
        assert ditio.ask(method, f"tasks/{task_id}", wrong)[0] == status
        assert ditio.sandbox.state.tasks[task_id] == before
    # And with a key of its own it moves
    assert ditio.ask(method, f"tasks/{task_id}", {"projectId": other, "externalId": "WO-2"})[1]["projectId"] == other


def test_a_project_is_made_once_for_its_number_and_deleted_with_everything_in_it(ditio: Ditio) -> None:
    # Given
    body = {"companyId": ditio.sandbox.options.company_id, "projectNumber": "P-9", "externalProjectNumber": "X-9"}
    # When
    (status, project), again = ditio.ask("POST", "projects", body), ditio.ask("POST", "projects", {**body, "name": "annet"})
    # Then
    assert (status, project["externalProjectNumber"], again) == (201, "X-9", (200, project))
    assert ditio.ask("GET", "projects/by-project-number/P-9")[1] == project
    ditio.ask("POST", "tasks", {"companyId": body["companyId"], "projectId": project["id"], "externalId": "WO-1"})
    kept = ditio.made("WO-2")
    assert ditio.ask("DELETE", f"projects/{project['id']}")[0] == 204
    assert list(ditio.sandbox.state.tasks) == [kept]
    assert ditio.ask("DELETE", f"projects/{project['id']}")[0] == 404


@pytest.mark.parametrize(
    ("wrong", "status"), [({"companyId": None}, 400), ({"projectNumber": ""}, 400), ({"companyId": "5f" * 12}, 404)]
)
def test_a_project_without_what_is_required_or_of_another_company_is_refused(
    ditio: Ditio, wrong: dict[str, object], status: int
) -> None:
    body = {"companyId": ditio.sandbox.options.company_id, "projectNumber": "P-9", **wrong}
    assert ditio.ask("POST", "projects", body)[0] == status
    assert len(ditio.sandbox.state.projects) == 1


@pytest.mark.parametrize(
    "path",
    [
        "tasks/{id}", "tasks/project/{project}", "tasks/by-project-number/P-1", "tasks/by-external-project-number/X-1",
        "tasks/by-project-number/P-1/by-task-number/WO-1", "tasks/by-project-number/P-1/by-task-number/WO-1/list",
        "tasks/by-external-project-number/X-1/by-external-id/WO-1", "tasks/by-production-code/D-1",
    ],
)  # fmt: skip
def test_every_look_up_of_the_page_finds_a_task(ditio: Ditio, path: str) -> None:
    task_id = ditio.made(externalDim01="D-1")
    status, found = ditio.ask("GET", path.format(id=task_id, project=ditio.project))
    assert status == 200
    assert task_id in json.dumps(found)


@pytest.mark.parametrize(
    ("rule", "status", "body"), [("404", 404, ...), ("null", 200, None), ("nothing", 200, None), ("array", 200, [])]
)
def test_a_look_up_by_key_without_a_match_answers_by_the_option(rule: str, status: int, body: object) -> None:
    answered = Ditio(no_match=rule).ask("GET", "tasks/by-project-number/P-1/by-task-number/WO-9")
    assert answered[0] == status
    assert body is ... or answered[1] == body


def test_a_look_up_of_one_may_answer_an_array() -> None:
    ditio = Ditio(single="array")
    task_id = ditio.made()
    assert ditio.ask("GET", f"tasks/{task_id}")[1][0]["id"] == task_id


@pytest.mark.parametrize(("rule", "status", "tasks"), [("400", 400, 1), ("409", 409, 1), ("allow", 201, 2)])
def test_an_external_id_that_is_there_is_refused_or_doubled_by_the_option(rule: str, status: int, tasks: int) -> None:
    ditio = Ditio(duplicate=rule)
    ditio.made()
    assert ditio.create()[0] == status
    assert len(ditio.sandbox.state.tasks) == tasks


def test_an_id_of_the_client_is_kept_and_refused_when_it_exists(ditio: Ditio) -> None:
    chosen = "a" * 24
    assert ditio.made(id=chosen) == chosen
    assert ditio.create("WO-2", id=chosen)[0] == 400
    assert Ditio(client_ids="ignore").made(id=chosen) != chosen


def test_letter_case_counts_unless_the_option_says_otherwise() -> None:
    exact, loose = Ditio(), Ditio(key_case="ignore")
    for each in (exact, loose):
        each.made("WO-a")
    path = "tasks/by-project-number/P-1/by-task-number/wo-A"
    assert (exact.ask("GET", path)[0], loose.ask("GET", path)[0]) == (404, 200)


@pytest.mark.parametrize("key", ["a/b", "a?b#c", "%2F", "æøå", "🏗️", "a b+c", "C:\\x"])
def test_a_percent_encoded_key_is_found(ditio: Ditio, key: str) -> None:
    ditio.made(key)
    assert ditio.ask("GET", f"tasks/by-project-number/P-1/by-task-number/{quote(key, safe='')}")[0] == 200


@pytest.mark.parametrize(("rule", "status"), [("accept", 200), ("400", 400), ("404", 404), ("split", 404)])
def test_an_encoded_slash_is_taken_by_the_option(rule: str, status: int) -> None:
    ditio = Ditio(encoded_slash=rule)
    ditio.made("a/b")
    assert ditio.ask("GET", "tasks/by-project-number/P-1/by-task-number/a%2Fb")[0] == status


# --- hierarchy and deletion


def test_a_parent_must_be_in_the_same_project_and_not_below(ditio: Ditio) -> None:
    # Given
    other = ditio.put_in("projects", {"projectNumber": "P-2"})[0]["id"]
    top = ditio.made("WO-1")
    child = ditio.made("WO-2", parentActivityId=top)
    # Then
    assert ditio.create("WO-3", parentActivityId="f" * 24)[0] == 404
    assert ditio.ask("POST", "tasks", {
        "companyId": ditio.sandbox.options.company_id, "projectId": other, "externalId": "WO-4", "parentActivityId": top,
    })[0] == 404  # fmt: skip
    assert ditio.ask("PATCH", f"tasks/{top}", {"parentActivityId": child})[0] == 400
    assert ditio.ask("PATCH", f"tasks/{top}", {"parentActivityId": top})[0] == 400
    assert ditio.ask("PATCH", f"tasks/{top}", {"projectId": other})[0] == 400


def test_an_empty_parent_detaches_and_null_keeps(ditio: Ditio) -> None:
    top = ditio.made("WO-1")
    child = ditio.made("WO-2", parentActivityId=top)
    assert ditio.ask("PATCH", f"tasks/{child}", {"parentActivityId": None})[1]["parentActivityId"] == top
    assert ditio.ask("PATCH", f"tasks/{child}", {"parentActivityId": ""})[1]["parentActivityId"] is None


def test_deleting_is_blocked_by_children_and_hours_and_a_missing_one_is_a_404(ditio: Ditio) -> None:
    top = ditio.made("WO-1")
    child = ditio.made("WO-2", parentActivityId=top)
    assert ditio.ask("DELETE", f"tasks/{top}")[0] == 400
    administer(ditio.sandbox, Request("POST", f"/_sandbox/tasks/{child}/hours"))
    assert ditio.ask("DELETE", f"tasks/{child}")[0] == 400
    ditio.sandbox.state.hours.clear()
    assert ditio.ask("DELETE", f"tasks/{child}")[0] == 204
    assert ditio.ask("DELETE", f"tasks/{child}")[0] == 404
    assert ditio.ask("DELETE", f"tasks/{top}")[0] == 204


# --- faults


def fault(ditio: Ditio, **given: object) -> None:
    assert administer(ditio.sandbox, Request("POST", "/_sandbox/faults", body=json.dumps(given).encode())).status == 204


def test_a_scripted_status_strikes_its_operation_so_many_times_after_so_many(ditio: Ditio) -> None:
    fault(ditio, operation="task_create", status=503, skip=1, count=2)
    assert [ditio.create(f"WO-{number}")[0] for number in range(4)] == [201, 503, 503, 201]
    assert ditio.ask("GET", "projects")[0] == 200


def test_a_fault_can_be_for_one_work_order(ditio: Ditio) -> None:
    fault(ditio, operation="task_create", status=500, external_id="WO-2")
    assert [ditio.create(f"WO-{number}")[0] for number in (1, 2, 3)] == [201, 500, 201]


def test_a_dropped_request_took_effect_only_if_it_was_dropped_after(ditio: Ditio) -> None:
    fault(ditio, operation="task_create", drop="before")
    fault(ditio, operation="task_create", drop="after")
    ditio.create("WO-1")
    ditio.create("WO-2")
    assert [task["externalId"] for task in ditio.sandbox.state.tasks.values()] == ["WO-2"]


def test_a_late_request_takes_effect_when_its_time_has_come(ditio: Ditio) -> None:
    fault(ditio, operation="task_create", late_s=5)
    ditio.create("WO-1")
    assert ditio.sandbox.state.tasks == {}
    ditio.now += 5.1
    assert ditio.ask("GET", "tasks/by-project-number/P-1/by-task-number/WO-1")[0] == 200


def test_look_ups_lag_behind_a_new_task_but_not_its_own_id() -> None:
    ditio = Ditio(lag_s=3)
    task_id = ditio.made()
    path = "tasks/by-project-number/P-1/by-task-number/WO-1"
    assert ditio.ask("GET", path)[0] == 404
    assert ditio.ask("GET", f"tasks/{task_id}")[0] == 200
    ditio.now += 3.1
    assert ditio.ask("GET", path)[0] == 200


def test_a_fault_or_option_that_is_not_understood_is_refused_in_words(ditio: Ditio) -> None:
    reply = administer(ditio.sandbox, Request("POST", "/_sandbox/faults", body=b'{"operaton": "x"}'))
    assert (reply.status, b"operaton" in reply.body) == (400, True)
    reply = administer(ditio.sandbox, Request("PATCH", "/_sandbox/options", body=b'{"duplicate": "maybe"}'))
    assert (reply.status, b"400 or 409 or allow" in reply.body) == (400, True)


# --- state


@given(
    st.lists(st.tuples(st.sampled_from(["create", "patch", "put", "delete"]), st.integers(0, 5), st.integers(-1, 5)), max_size=25)
)
def test_whatever_is_done_parents_are_in_the_project_without_cycles_and_a_dump_is_the_state(
    steps: list[tuple[str, int, int]],
) -> None:
    # Given
    ditio = Ditio()
    ids: dict[int, str] = {}
    # When
    for what, number, under in steps:
        parent = ids.get(under, "") or None
        if what == "create":
            status, task = ditio.create(f"WO-{number}", parentActivityId=parent)
            ids |= {number: task["id"]} if status == 201 else {}
        elif number in ids:
            method = {"patch": "PATCH", "put": "PUT", "delete": "DELETE"}[what]
            status, _ = ditio.ask(method, f"tasks/{ids[number]}", None if what == "delete" else {"parentActivityId": parent})
            if what == "delete" and status == 204:
                del ids[number]
    # Then
    tasks = ditio.sandbox.state.tasks
    for each in tasks.values():
        above, at = set(), each
        while at["parentActivityId"]:
            assert at["id"] not in above
            above.add(at["id"])
            at = tasks[at["parentActivityId"]]
    dumped = json.loads(json.dumps(ditio.sandbox.state.dumped()))
    loaded = State.loaded(dumped)
    assert loaded.dumped() == dumped
    assert {each["id"] for each in loaded.of_project(ditio.project)} == tasks.keys()


# --- over HTTP


async def token(server: Server, client: httpx.AsyncClient) -> dict[str, str]:
    form = {"grant_type": "client_credentials", "client_id": "sandbox", "client_secret": "sandbox-secret", "scope": "ditioapiv3"}
    answer = await client.post(f"{server.identity_url}/connect/token", data=form)
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


async def test_a_delayed_answer_delays_no_other(tmp_path: Path) -> None:
    server = await serve(Options())
    seed(server.sandbox)
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        headers = await token(server, client)
        server.sandbox.faults.add({"operation": "project_list", "delay_s": 10})
        slow = asyncio.ensure_future(client.get(f"{server.url}/api/v4/integration/projects", headers=headers))
        while not server.sandbox.counts["project_list", "200"]:
            await asyncio.sleep(0.01)
        quick = await client.get(f"{server.url}/api/v4/integration/projects", headers=headers)
        assert (quick.status_code, len(quick.json())) == (200, 3)
        assert not slow.done()
        slow.cancel()
    await server.close()


async def test_a_dropped_connection_is_a_broken_one_for_the_client() -> None:
    server = await serve(Options())
    async with httpx.AsyncClient(trust_env=False) as client:
        headers = await token(server, client)
        server.sandbox.faults.add({"operation": "project_list", "drop": "after"})
        with pytest.raises(httpx.TransportError):
            await client.get(f"{server.url}/api/v4/integration/projects", headers=headers)
    await server.close()


async def test_the_state_is_kept_in_its_file(tmp_path: Path) -> None:
    # Given
    file = tmp_path / "state.json"
    server = await serve(Options(), state_file=file)
    seed(server.sandbox)
    await server.close()
    # When
    again = await serve(Options(), state_file=file)
    # Then
    assert len(again.sandbox.state.projects) == 3
    await again.close()


async def test_the_admin_pages_show_no_secret(ditio: Ditio) -> None:
    for page in ("options", "log", "state", "counts", "faults", "pending"):
        reply = administer(ditio.sandbox, Request("GET", f"/_sandbox/{page}"))
        assert reply.status == 200
        assert b"sandbox-secret" not in reply.body
        assert ditio.token.encode() not in reply.body


def test_wrong_options_end_with_status_2_and_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--option", "duplicat=409"]) == 2
    assert "unknown option duplicat" in capsys.readouterr().err
    assert main(["--options"]) == 0
    assert "duplicate=400" in capsys.readouterr().out


def test_a_scripted_lag_hides_one_new_task_from_look_ups(ditio: Ditio) -> None:
    fault(ditio, operation="task_create", lag_s=3)
    ditio.made("WO-1")
    ditio.made("WO-2")
    statuses = [ditio.ask("GET", f"tasks/by-project-number/P-1/by-task-number/{each}")[0] for each in ("WO-1", "WO-2")]
    assert statuses == [404, 200]


@pytest.mark.parametrize("kind", ["identityId", "companyProfileId"])
def test_a_foreman_takes_one_kind_of_id_by_the_option(kind: str) -> None:
    ditio = Ditio(person_id=kind)
    (user,) = ditio.put_in("users", {"employeeNumber": "7"})
    other = "companyProfileId" if kind == "identityId" else "identityId"
    assert ditio.create("WO-1", mainForemanId=user[kind])[0] == 201
    assert ditio.create("WO-2", mainForemanId=user[other])[0] == 400


@pytest.mark.parametrize(("companies", "seen"), [("one", 1), ("several", 2)])
def test_the_client_sees_the_projects_of_one_company_or_of_several(companies: str, seen: int) -> None:
    ditio = Ditio(companies=companies, single="array")
    other = ditio.put_in("projects", {"projectNumber": "P-1", "companyId": "c" * 24})[0]["id"]
    assert len(ditio.ask("GET", "projects")[1]) == seen
    assert len(ditio.ask("GET", "projects/by-project-number/P-1")[1]) == seen
    assert ditio.ask("GET", f"projects/{other}")[0] == (404 if seen == 1 else 200)
    # And the tasks in them
    for number, project in enumerate((ditio.project, other)):
        ditio.put_in("tasks", {"externalId": f"WO-{number}", "projectId": project})
    assert len(ditio.ask("GET", "tasks/by-project-number/P-1")[1]) == seen


@pytest.mark.parametrize("said", [{}, {"retry_after_s": 2}])
def test_more_than_its_capacity_within_a_second_gets_429_and_what_that_says(said: dict[str, float]) -> None:
    # Given
    now = [1000.0]
    sandbox = Sandbox(Options().changed({"capacity_per_s": 3, **said}), lambda: now[0])
    asked = Request("GET", "/core/api/v4/integration/projects")
    # When five come at once, and one a second later
    replies = [sandbox.handle(asked) for _ in range(5)]
    now[0] += 1
    replies.append(sandbox.handle(asked))
    # Then those that were taken are told that they lack a token
    assert [reply.status for reply in replies] == [401, 401, 401, 429, 429, 401]
    assert [reply.headers.get("Retry-After") for reply in replies[3:5]] == (["2", "2"] if said else [None, None])
    # And the identity server is another
    assert sandbox.handle(Request("POST", "/connect/token")).status == 400


def test_what_it_does_not_work_on_at_once_queues() -> None:
    now = [1000.0]
    sandbox = Sandbox(Options().changed({"capacity_concurrent": 2, "latency_s": 0.5}), lambda: now[0])
    asked = Request("GET", "/core/api/v4/integration/projects")
    assert [sandbox.handle(asked).delay_s for _ in range(5)] == [0.5, 0.5, 1.0, 1.0, 1.5]
    now[0] += 1.25
    assert [sandbox.handle(asked).delay_s for _ in range(2)] == [0.5, 0.75]
