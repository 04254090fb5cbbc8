"""`ditio-worker tasks` against a local Ditio: each look-up, each format, and keys that a path cannot carry."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest

from tests.support.secret import leaks
from worker import cli
from worker.cli.lookups import FINDS
from worker.cli.terminal import Terminal
from worker.sandbox import Server, environment
from worker.sandbox.admin import administer
from worker.sandbox.message import Request

COMBINATIONS = {
    "--project-id {project}": ["WO-1", "WO-2"],
    "--project-number P-2026-001": ["WO-1", "WO-2"],
    "--external-project-number 4711": ["WO-1", "WO-2"],
    "--project-number P-2026-001 --task-number WO-1": ["WO-1"],
    "--project-number P-2026-001 --task-number WO-1 --all": ["WO-1"],
    "--external-project-number 4711 --external-id WO-2": ["WO-2"],
    "--production-code 0120": ["WO-1", "WO-3"],
}
"""Each look-up of the page but that by id, and what it finds."""


async def tasks(ditio: Server, *words: str, **more: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error; no secret may be in them."""
    out, err = io.StringIO(), io.StringIO()
    environ = {**environment(ditio, ditio.sandbox.options), **more}
    status = await asyncio.to_thread(cli.main, ["tasks", *words], Terminal(environ, out, err))
    assert leaks(out.getvalue() + err.getvalue()) == []
    return status, out.getvalue(), err.getvalue()


def put(ditio: Server, external_id: str, project: int = 0, **values: object) -> dict[str, Any]:
    """A task in one of the projects."""
    project_id = list(ditio.sandbox.state.projects)[project]
    body = json.dumps({"projectId": project_id, "externalId": external_id, **values}).encode()
    (made,) = json.loads(administer(ditio.sandbox, Request("POST", "/_sandbox/tasks", body=body)).body)
    return dict(made)


@pytest.fixture
def stocked(ditio: Server) -> Server:
    """A Ditio with three tasks in two projects."""
    for number, (project, code) in enumerate(((0, "0120"), (0, None), (1, "0120")), start=1):
        put(ditio, f"WO-{number}", project, externalDim01=code, name=f"Grøft {number}")
    return ditio


@pytest.mark.parametrize("words", COMBINATIONS)
async def test_each_look_up_of_the_page_finds_what_matches(stocked: Server, words: str) -> None:
    given = words.format(project=next(iter(stocked.sandbox.state.projects))).split()
    status, out, err = await tasks(stocked, "find", *given, "--format", "json")
    assert (status, err) == (0, "")
    assert [task["externalId"] for task in json.loads(out)] == COMBINATIONS[words]
    assert json.loads(out)[0] in stocked.sandbox.state.tasks.values()
    # And it is one request of its own kind
    paths = [line["path"] for line in stocked.sandbox.log if line["operation"].startswith("task")]
    assert len(paths) == 1
    assert paths[0].endswith("/list") == ("--all" in words)


def test_the_look_ups_are_those_of_the_page() -> None:
    assert {
        " ".join(word[2:].replace("-", "_") for word in words.split() if word.startswith("--")) for words in COMBINATIONS
    } == {" ".join(options) for options in FINDS}


@pytest.mark.parametrize(
    "words",
    [
        "", "--task-number WO-1", "--all", "--project-number P --all", "--project-id 1 --task-number 2", "--external-id 1",
        "--project-number P --external-id 1", "--external-project-number P --task-number 1", "--production-code 1 --all",
    ],
)  # fmt: skip
async def test_a_combination_that_is_no_look_up_is_an_error_that_lists_what_is_possible(ditio: Server, words: str) -> None:
    status, out, err = await tasks(ditio, "find", *words.split(), DITIO_API_BASE="")
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1 + len(FINDS)
    assert "  --external-project-number … --external-id …" in err.splitlines()


@pytest.mark.parametrize("words", ["show --id ", "find --project-number "])
async def test_an_empty_key_is_a_wrong_argument(ditio: Server, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert (await tasks(ditio, *words.split(" ")))[0] == 2
    assert "must not be empty" in capsys.readouterr().err


async def test_a_table_is_plain_when_piped_and_the_other_formats_are_ditios_own_objects(stocked: Server) -> None:
    task = put(stocked, "WO-4", active=True, massHaulDefaults={"material": "stein"})
    look_up = ("find", "--project-number", "P-2026-001", "--task-number", "WO-4")
    _, table, _ = await tasks(stocked, *look_up)
    _, array, _ = await tasks(stocked, *look_up, "--format", "json")
    _, line, _ = await tasks(stocked, *look_up, "--format", "jsonl")
    _, one, _ = await tasks(stocked, "show", "--id", task["id"], "--format", "json")
    _, one_line, _ = await tasks(stocked, "show", "--id", task["id"], "--format", "jsonl")
    _, fields, _ = await tasks(stocked, "show", "--id", task["id"])
    assert [row.split() for row in table.splitlines()] == [
        ["externalId", "name", "active", "id", "projectId", "parentActivityId"],
        ["WO-4", "true", task["id"], task["projectId"]],
    ]
    assert json.loads(array) == [task]
    assert json.loads(line) == json.loads(one) == json.loads(one_line) == task
    assert (line.count("\n"), one_line.count("\n"), array.count("\n") > 1) == (1, 1, True)
    shown = dict(row.split(maxsplit=1) for row in fields.splitlines() if " " in row)
    assert (shown["field"], shown["active"], shown["massHaulDefaults"]) == ("value", "true", '{"material": "stein"}')


@pytest.mark.parametrize("no_match", ["404", "null", "nothing", "array"])
async def test_nothing_that_matches_is_3_in_every_form_of_nothing(stocked: Server, no_match: str) -> None:
    stocked.sandbox.options = stocked.sandbox.options.changed({"no_match": no_match})
    look_up = ("find", "--project-number", "P-2026-001", "--task-number", "WO-9")
    assert await tasks(stocked, *look_up) == (3, "", "nothing matched\n")
    assert await tasks(stocked, *look_up, "--format", "json") == (3, "[]\n", "nothing matched\n")
    assert await tasks(stocked, "show", "--id", "0" * 24, "--format", "jsonl") == (3, "", "nothing matched\n")


async def test_all_matches_show_twins_and_one_look_up_shows_one(stocked: Server) -> None:
    twin = put(stocked, "WO-1")
    look_up = ("find", "--project-number", "P-2026-001", "--task-number", "WO-1", "--format", "json")
    assert len(json.loads((await tasks(stocked, *look_up))[1])) == 1
    assert twin in json.loads((await tasks(stocked, *look_up, "--all"))[1])


@pytest.mark.parametrize("encoded_slash", ["accept", "400", "404", "split"])
@pytest.mark.parametrize("key", [".", "..", "a/b", "100%", "WO-1/list", "a b"])
async def test_a_key_that_a_path_cannot_carry_is_found_by_a_listing(stocked: Server, key: str, encoded_slash: str) -> None:
    # Given a work order of that key, and one in a project of that number and external number
    put(stocked, key)
    project = list(stocked.sandbox.state.projects.values())[2]
    project |= {"projectNumber": key, "externalProjectNumber": key}
    put(stocked, "WO-7", 2)
    stocked.sandbox.options = stocked.sandbox.options.changed({"encoded_slash": encoded_slash})
    # Then
    for words, found in (
        (("--project-number", "P-2026-001", "--task-number", key), key),
        (("--external-project-number", "4711", "--external-id", key), key),
        (("--project-number", key), "WO-7"),
        (("--external-project-number", key), "WO-7"),
        (("--project-number", key, "--task-number", "WO-7", "--all"), "WO-7"),
    ):
        status, out, _ = await tasks(stocked, "find", *words, "--format", "json")
        assert (status, [task["externalId"] for task in json.loads(out)]) == (0, [found])


async def test_tasks_with_an_external_number_of_their_own_are_said_to_be_left_out_where_they_are(stocked: Server) -> None:
    _, _, err = await tasks(stocked, "find", "--external-project-number", "47/11")
    assert (
        err
        == "only projects whose external number is '47/11' were searched, not tasks that have one of their own\nnothing matched\n"
    )


@pytest.mark.parametrize("code", ["..", "0120/1"])
async def test_a_production_code_that_was_not_found_and_could_not_be_asked_for_safely_is_a_failure(
    stocked: Server, code: str
) -> None:
    stocked.sandbox.options = stocked.sandbox.options.changed({"encoded_slash": "400"})
    status, out, err = await tasks(stocked, "find", "--production-code", code, "--format", "json")
    assert (status, out) == (1, "")
    assert "nothing came says nothing" in err
    stocked.sandbox.options = stocked.sandbox.options.changed({"encoded_slash": "accept"})
    put(stocked, "WO-8", externalDim01="0120/1")
    status, _, _ = await tasks(stocked, "find", "--production-code", code)
    assert status == (0 if "/" in code else 1)


async def test_an_answer_to_other_letters_than_those_asked_for_is_shown_and_told(stocked: Server) -> None:
    stocked.sandbox.options = stocked.sandbox.options.changed({"key_case": "ignore"})
    status, out, err = await tasks(stocked, "find", "--project-number", "P-2026-001", "--task-number", "wo-1", "--format", "json")
    assert (status, json.loads(out)[0]["externalId"]) == (0, "WO-1")
    assert err == "note: Ditio answered with externalId WO-1, which is not exactly wo-1\n"


async def test_an_id_that_would_be_another_look_up_shows_nothing(stocked: Server) -> None:
    stocked.sandbox.options = stocked.sandbox.options.changed({"encoded_slash": "split"})
    assert (await tasks(stocked, "show", "--id", "by-production-code/0120"))[0] == 3


async def test_what_ditio_refuses_and_what_is_missing_are_told_apart(stocked: Server) -> None:
    status, _, err = await tasks(stocked, "show", "--id", "1", DITIO_CLIENT_SECRET="wrong")
    assert (status, "invalid_client" in err) == (1, True)
    status, _, err = await tasks(stocked, "show", "--id", "1", DITIO_COMPANY_ID="")
    assert (status, err) == (2, "DITIO_COMPANY_ID: is required; set it\n")
    stocked.sandbox.faults.add({"operation": "*", "status": 503, "count": -1})
    status, _, err = await tasks(stocked, "show", "--id", "1")
    assert (status, "503" in err) == (1, True)


@pytest.mark.parametrize("name", ["show", "find"])
def test_help_has_examples_and_the_shapes_of_the_formats(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tasks", name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"ditio-worker tasks {name} --" in shown.partition("example:")[2]
    assert "jsonl: " in shown
