"""The API client against a server that answers as it is told: tokens, retries, errors, and what is on the wire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from urllib.parse import quote_plus

import pytest
from aiohttp import web

from worker.api import Access, Client, open_api
from worker.clock import WallClock
from worker.core.errors import ApiError, Missing, NotSent, Outage, Refused, UnknownOutcome
from worker.core.plan import Call, Create, Delete, Replace, Update
from worker.ports import OperationName, Project, Reply

PROJECT = Project("p-1", "P-1", None)
SECRET = "hush-hush-secret"
CREATE = Create("WO-1", {"name": "x"})
UPDATE = Update("t-1", {"name": "x"})
SHOWN = {"id": "t-1", "externalId": "WO-1", "name": "a", "price": 5, "unitId": None, "textRequired": True}
"""A task with a field that the ERP does not own, and one that has no value."""

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class QuickClock(WallClock):
    """Real time, but nobody sleeps long: the rest of a sleep is skipped, and the time with it."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.moved = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.moved

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(min(seconds, 0.02))
        self.moved += max(0.0, seconds - 0.02)

    def chance(self) -> float:
        return 0.5


@dataclass
class Ditio:
    """A server: tokens are given out, the projects can be read, and everything else is answered by the script, in turn."""

    script: list[Answer] = field(default_factory=list)
    control: int = 200
    control_body: object = field(default_factory=list)
    controls: int = 0
    token_answer: tuple[int, object] = (200, None)
    token_s: float = 1800
    secret: str = SECRET
    forms: list[str] = field(default_factory=list)
    seen: list[tuple[str, str, bytes]] = field(default_factory=list)
    tokens: int = 0
    ahead: list[float] = field(default_factory=list)
    good: set[str] = field(default_factory=set)
    observed: list[tuple[str, int | None]] = field(default_factory=list)
    retries: list[str] = field(default_factory=list)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if request.path == "/connect/token":
            self.tokens += 1
            self.forms.append(body.decode())
            status, given = self.token_answer
            self.good = {f"token-{self.tokens}"}
            granted = {"access_token": f"token-{self.tokens}", "expires_in": self.token_s}
            return web.json_response(given or granted, status=status)
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.good:
            return web.json_response({"message": "no"}, status=401)
        if request.path == "/core/api/v4/integration/projects":
            self.controls += 1
            return web.json_response(self.control_body, status=self.control)
        self.seen.append((request.method, request.raw_path.removeprefix("/core/api/v4/integration/"), body))
        return await self.script.pop(0)(request)

    def request(self, operation: OperationName, status: int | None, seconds: float) -> None:
        self.observed.append((operation, status))

    def retry(self, cause: str) -> None:
        self.retries.append(cause)

    def clock_ahead(self, seconds: float) -> None:
        self.ahead.append(seconds)


def says(status: int, body: object = None, **headers: str) -> Answer:
    """Answers with a status."""

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        if status == 204:
            return web.Response(status=204)
        return web.json_response(body if body is not None else {"message": f"sier {status}"}, status=status, headers=headers)

    return answer


async def hangs(_: web.BaseRequest) -> web.StreamResponse:
    """Never answers."""
    await asyncio.sleep(60)
    return web.Response()


async def trickles(request: web.BaseRequest) -> web.StreamResponse:
    """Sends a little at a time, without end."""
    response = web.StreamResponse()
    await response.prepare(request)
    with suppress(ConnectionError):
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.05)
    return response


async def drops(request: web.BaseRequest) -> web.StreamResponse:
    """Closes the connection."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.fixture
async def ditio() -> Ditio:
    return Ditio()


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


@pytest.fixture
async def api(ditio: Ditio, clock: QuickClock) -> AsyncIterator[Client]:
    async with AsyncExitStack() as stack:
        runner = web.ServerRunner(web.Server(ditio.answer), handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        access = Access(f"{base}/core", base, "client", lambda: ditio.secret, "c-1", timeout_s=0.5)
        yield await stack.enter_async_context(open_api(access, clock, ditio))


async def test_a_hundred_requests_at_once_cost_one_token(api: Client, ditio: Ditio) -> None:
    ditio.script = [says(200, {"id": "t-1"})] * 100
    await asyncio.gather(*(api.task_by_id("t-1") for _ in range(100)))
    assert ditio.tokens == 1


async def test_a_token_is_asked_for_as_documented_and_with_the_secret_of_that_moment(api: Client, ditio: Ditio) -> None:
    # Given a request, after which the secret is replaced and the token withdrawn
    ditio.script = [says(200, {"id": "t-1"})] * 2
    await api.task_by_id("t-1")
    ditio.secret, ditio.good = "another & secret", set()
    # When
    await api.task_by_id("t-1")
    # Then
    assert ditio.forms == [
        f"grant_type=client_credentials&client_id=client&client_secret={secret}&scope=ditioapiv3"
        for secret in (SECRET, "another+%26+secret")
    ]


async def test_a_token_is_renewed_before_its_end(api: Client, ditio: Ditio, clock: QuickClock) -> None:
    ditio.token_s, ditio.script = 100, [says(200, {"id": "t-1"})] * 3
    tokens = []
    for later in (0, 89, 2):
        clock.moved += later
        await api.task_by_id("t-1")
        tokens.append(ditio.tokens)
    assert tokens == [1, 1, 2]
    assert ditio.retries == []


async def test_an_identity_server_that_is_down_is_asked_three_times_for_all_who_wait(api: Client, ditio: Ditio) -> None:
    ditio.token_answer = (503, {"message": "nede"})
    ends = await asyncio.gather(*(api.task_by_id("t-1") for _ in range(50)), return_exceptions=True)
    assert {(isinstance(each, Outage), getattr(each, "cause", "")) for each in ends} == {(True, "circuit")}
    assert ditio.tokens == 3


async def test_whoever_stops_waiting_for_a_token_leaves_the_others_theirs(api: Client, ditio: Ditio) -> None:
    # Given two who wait for the same token
    ditio.script = [says(200, {"id": "t-1"})]
    first, second = (asyncio.ensure_future(api.task_by_id("t-1")) for _ in range(2))
    await asyncio.sleep(0)
    # When
    first.cancel()
    # Then
    assert await second == {"id": "t-1"}
    assert first.cancelled()


async def test_a_stale_token_is_renewed_once_and_the_request_made_again(api: Client, ditio: Ditio) -> None:
    # Given
    ditio.script = [says(200, {"id": "t-1"}), says(200, {"id": "t-1"})]
    await api.task_by_id("t-1")
    # When
    ditio.good = set()
    assert await api.task_by_id("t-1") == {"id": "t-1"}
    # Then
    assert ditio.tokens == 2
    assert ditio.retries == ["unauthorized"]


@pytest.mark.parametrize("refusal", ["invalid_client", "invalid_scope"])
async def test_a_client_that_the_identity_server_refuses_is_an_outage_of_credentials(
    api: Client, ditio: Ditio, refusal: str
) -> None:
    ditio.token_answer = (400, {"error": refusal})
    with pytest.raises(Outage, match=refusal) as error:
        await api.send(UPDATE, PROJECT)
    assert error.value.cause == "credentials"
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    ("status", "control", "expected"), [(403, 200, Refused), (401, 200, Refused), (403, 403, Outage), (401, 401, Outage)]
)
async def test_401_and_403_are_the_events_fault_only_if_the_control_read_is_let_through(
    api: Client, ditio: Ditio, status: int, control: int, expected: type[Exception]
) -> None:
    ditio.script, ditio.control = [says(status)] * 2, control
    with pytest.raises(expected) as error:
        await api.send(UPDATE, PROJECT)
    assert getattr(error.value, "cause", "credentials") == "credentials"


@pytest.mark.parametrize(
    ("call", "script", "error", "requests", "lingering"),
    [
        (CREATE, [says(400)], Refused, 1, False),
        (CREATE, [says(409)], Refused, 1, False),
        (CREATE, [says(413)], Refused, 1, False),
        (CREATE, [says(422)], Refused, 1, False),
        (CREATE, [says(404)], Missing, 1, False),
        (CREATE, [says(500)], UnknownOutcome, 1, True),
        (CREATE, [says(408)], UnknownOutcome, 1, True),
        (CREATE, [says(302, Location="/x")], UnknownOutcome, 1, True),
        (CREATE, [hangs], UnknownOutcome, 1, True),
        (CREATE, [drops], UnknownOutcome, 1, True),
        (UPDATE, [says(503)] * 3, UnknownOutcome, 3, True),
        (UPDATE, [drops] * 3, UnknownOutcome, 3, True),
        (UPDATE, [says(502), says(400)], Refused, 2, True),
        (UPDATE, [says(404)], Missing, 1, False),
    ],
)
async def test_each_answer_is_the_error_of_the_failure_table(
    api: Client, ditio: Ditio, call: Call, script: list[Answer], error: type[ApiError], requests: int, lingering: bool
) -> None:
    ditio.script = list(script)
    with pytest.raises(error) as raised:
        await api.send(call, PROJECT)
    assert (len(ditio.seen), raised.value.attempts, raised.value.lingering) == (requests, requests, lingering)


@pytest.mark.parametrize("broken", [Delete("t-1"), Replace("t-1", {"name": "b"})])
async def test_a_write_on_a_kept_connection_that_breaks_is_never_sent_again_in_silence(
    api: Client, ditio: Ditio, broken: Call
) -> None:
    # Given a connection that is kept; the transport's library would send a PUT or DELETE again by itself
    ditio.script = [says(200, SHOWN)]
    await api.task_by_id("t-1")
    ditio.seen.clear()
    # When
    ditio.script = [says(200, SHOWN)] * isinstance(broken, Replace) + [drops, says(204)]
    reply = await api.send(broken, PROJECT)
    # Then
    assert reply.lingering
    assert reply.attempts == len(ditio.seen)
    assert ditio.retries == ["protocol"]


async def test_a_replacement_never_starts_from_another_task(api: Client, ditio: Ditio) -> None:
    ditio.script = [says(200, {"id": "t-2", "name": "another"})]
    with pytest.raises(Missing):
        await api.send(Replace("t-1", {"name": "b"}), PROJECT)
    assert [method for method, _, _ in ditio.seen] == ["GET"]


async def test_an_answer_that_trickles_is_given_up_when_the_time_of_the_whole_request_is_over(api: Client, ditio: Ditio) -> None:
    ditio.script = [trickles]
    with pytest.raises(UnknownOutcome, match=r"within 0\.5 s"):
        await api.send(CREATE, PROJECT)
    assert ditio.observed[-1] == ("task_create", None)


async def test_a_request_that_is_cancelled_leaves_the_client_in_order(api: Client, ditio: Ditio) -> None:
    # Given
    arrived = asyncio.Event()

    async def arrives(request: web.BaseRequest) -> web.StreamResponse:
        arrived.set()
        return await hangs(request)

    ditio.script = [arrives, says(201, {"id": "t-1"})]
    request = asyncio.ensure_future(api.send(CREATE, PROJECT))
    await arrived.wait()
    # When
    request.cancel()
    await asyncio.wait({request})
    # Then
    assert request.cancelled()
    assert (await api.send(CREATE, PROJECT)).task == {"id": "t-1"}
    assert len(ditio.seen) == 2


async def test_an_answer_that_is_too_large_is_not_read(api: Client, ditio: Ditio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.api.httpx_wire.LARGEST_ANSWER", 1000)
    ditio.script = [says(200, [{"id": "t-1", "name": "x" * 1000}])] * 3
    with pytest.raises(UnknownOutcome, match="larger than 1000 bytes"):
        await api.tasks_of_project("p-1")


@pytest.mark.parametrize("body", ["", "null", "[]", "{}", "<html>", "[1, 2", '"t-1"'])
async def test_a_creation_that_is_accepted_without_showing_the_task_is_accepted(api: Client, ditio: Ditio, body: str) -> None:
    async def accepts(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=201, text=body)

    ditio.script = [accepts]
    assert await api.send(CREATE, PROJECT) == Reply(None)


async def test_what_must_be_durable_before_a_creation_is_done_after_all_waiting_and_each_time(api: Client, ditio: Ditio) -> None:
    # Given
    order: list[str] = []

    async def starting() -> None:
        order.append(f"starting after {len(ditio.seen)}")

    # When Ditio asks for quiet first
    ditio.script = [says(429, **{"Retry-After": "2"}), says(201, {"id": "t-1"})]
    await api.send(CREATE, PROJECT, starting=starting)
    # Then
    assert order == ["starting after 0", "starting after 1"]
    assert ditio.tokens == 1


async def test_how_far_ditios_clock_is_ahead_is_told(api: Client, ditio: Ditio) -> None:
    ahead = formatdate(time.time() + 3600, usegmt=True)
    ditio.script = [says(200, {"id": "t-1"}, Date=ahead)]
    await api.task_by_id("t-1")
    assert ditio.ahead[-1] == pytest.approx(3600, abs=5)


async def test_a_write_that_succeeds_after_one_was_given_up_says_that_the_first_may_linger(api: Client, ditio: Ditio) -> None:
    ditio.script = [drops, says(200, {"id": "t-1"})]
    reply = await api.send(UPDATE, PROJECT)
    assert (reply.attempts, reply.lingering, reply.task) == (2, True, {"id": "t-1"})
    assert ditio.retries == ["protocol"]


async def test_a_connection_that_is_refused_was_not_sent_and_is_tried_again(ditio: Ditio, clock: QuickClock) -> None:
    # Given an identity server that answers, and an API where nobody listens
    access = Access("http://127.0.0.1:1/core", "http://127.0.0.1:1", "client", lambda: SECRET, "c-1")
    async with open_api(access, clock, ditio) as api:
        api._http._tokens = GivenToken()
        with pytest.raises(NotSent) as error:
            await api.send(CREATE, PROJECT)
    assert error.value.attempts == 3
    assert not error.value.lingering
    assert ditio.retries == ["connect", "connect"]


class GivenToken:
    """A token without asking."""

    async def get(self) -> str:
        return "given"

    def spoil(self, token: str) -> None: ...


async def test_429_is_waited_out_by_all_and_never_counted(api: Client, ditio: Ditio, clock: QuickClock) -> None:
    ditio.script = [says(429), says(429), says(201, {"id": "t-9"})]
    reply = await api.send(CREATE, PROJECT)
    assert (reply.attempts, reply.lingering) == (1, False)
    assert ditio.retries == ["throttled", "throttled"]


async def test_a_retry_after_of_over_a_minute_gives_back(api: Client, ditio: Ditio) -> None:
    ditio.script = [says(429, **{"Retry-After": "3600"})]
    with pytest.raises(Outage) as error:
        await api.send(CREATE, PROJECT)
    assert error.value.cause == "circuit"


async def test_retry_after_is_honoured(api: Client, ditio: Ditio, clock: QuickClock) -> None:
    ditio.script = [says(429, **{"Retry-After": "2"}), says(200, {"id": "t-1"})]
    await api.send(UPDATE, PROJECT)
    assert max(clock.slept) >= 1.9


@pytest.mark.parametrize("nothing", [says(404), says(200, []), says(200, {}), says(204)])
async def test_a_look_up_without_a_match_is_empty_in_every_form_while_the_control_read_succeeds(
    api: Client, ditio: Ditio, nothing: Answer
) -> None:
    ditio.script = [nothing] * 9
    assert not await api.tasks_by_number("P-1", "WO-1")
    assert await api.task_by_number("P-1", "WO-1") is None
    assert await api.task_by_external_number("X-1", "WO-1") is None
    assert not await api.tasks_of_project_number("P-1")
    assert not await api.tasks_of_external_number("X-1")
    assert not await api.tasks_by_production_code("D-1")
    assert not await api.projects_by_number("P-1")
    assert await api.person_by_number("7") is None
    assert await api.task_by_id("t") is None


@pytest.mark.parametrize(("control", "body"), [(404, []), (200, "<html>"), (200, {"message": "vedlikehold"})])
async def test_that_nothing_is_there_is_not_believed_when_the_control_read_fails(
    api: Client, ditio: Ditio, control: int, body: object
) -> None:
    ditio.script, ditio.control, ditio.control_body = [says(404)], control, body
    with pytest.raises(Outage) as error:
        await api.projects_by_number("P-1")
    assert error.value.cause == "circuit"


async def test_look_ups_in_vain_at_once_share_one_control_read(api: Client, ditio: Ditio) -> None:
    ditio.script = [says(404)] * 64
    await asyncio.gather(*(api.person_by_number(str(number)) for number in range(64)))
    assert ditio.controls == 1


async def test_a_control_read_that_fails_fails_for_all_who_wait_for_it(api: Client, ditio: Ditio) -> None:
    ditio.control = 503
    ends = await asyncio.gather(*(api.control() for _ in range(20)), return_exceptions=True)
    assert [type(each) for each in ends] == [Outage] * 20
    assert ditio.controls == 3


@pytest.mark.parametrize("form", [{"id": "t-1"}, [{"id": "t-1"}]])
async def test_one_object_and_an_array_of_one_are_the_same(api: Client, ditio: Ditio, form: object) -> None:
    ditio.script = [says(200, form), says(201, form)]
    assert await api.task_by_id("t-1") == {"id": "t-1"}
    assert (await api.send(CREATE, PROJECT)).task == {"id": "t-1"}


async def test_a_page_that_is_no_json_is_an_unknown_outcome(api: Client, ditio: Ditio) -> None:
    async def page(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="<html>logg inn</html>")

    ditio.script = [page]
    with pytest.raises(UnknownOutcome, match="not JSON"):
        await api.tasks_of_project("p-1")


@pytest.mark.parametrize("page", ["<html>logg inn</html>", '"logg inn"', "true"])
@pytest.mark.parametrize("call", [UPDATE, Delete("t-1")])
async def test_a_page_is_no_success_of_a_change_whatever_its_status(api: Client, ditio: Ditio, call: Call, page: str) -> None:
    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=page)

    ditio.script = [answer]
    with pytest.raises(UnknownOutcome):
        await api.send(call, PROJECT)


async def test_that_a_task_to_be_deleted_is_gone_is_not_believed_for_a_control_read_of_a_moment_ago(
    api: Client, ditio: Ditio
) -> None:
    # Given
    await api.control()
    ditio.control, ditio.script = 404, [says(404)]
    # When, Then
    with pytest.raises(Outage):
        await api.send(Delete("t-1"), PROJECT)


async def test_keys_are_percent_encoded_once_on_the_wire(api: Client, ditio: Ditio) -> None:
    keys = {
        "a/b?c#d": "a%2Fb%3Fc%23d", "%2F": "%252F", "æøå": "%C3%A6%C3%B8%C3%A5", "🏗": "%F0%9F%8F%97",
        "a b+c": "a%20b%2Bc", "../x": "..%2Fx", "a;b@c:d": "a%3Bb%40c%3Ad",
    }  # fmt: skip
    ditio.script = [says(200, [{"id": "t"}])] * len(keys)
    for key in keys:
        await api.tasks_by_number("P-1", key)
    paths = [path for _, path, _ in ditio.seen]
    assert paths == [f"tasks/by-project-number/P-1/by-task-number/{encoded}/list" for encoded in keys.values()]


@pytest.mark.parametrize("key", [".", ".."])
async def test_a_key_that_no_path_can_hold_never_asks_for_something_else(api: Client, ditio: Ditio, key: str) -> None:
    assert not await api.projects_by_number(key)
    assert await api.person_by_number(key) is None
    assert await api.project_by_id(key) is None
    assert await api.task_by_id(key) is None
    for ask in (api.tasks_by_number, api.task_by_number, api.task_by_external_number):
        for keys in (("P-1", key), (key, "WO-1")):
            with pytest.raises(Refused, match="no path can hold"):
                await ask(*keys)
    for listing in (api.tasks_of_project_number, api.tasks_of_external_number, api.tasks_by_production_code):
        with pytest.raises(Refused, match="no path can hold"):
            await listing(key)
    assert ditio.seen == []


async def test_each_look_up_of_the_page_asks_for_its_own_path_under_its_own_operation(api: Client, ditio: Ditio) -> None:
    # Given
    ditio.script = [says(200, [{"id": "t"}, {"id": "u"}])] * 8
    # When
    found = [
        await api.tasks_of_project("p/1"),
        await api.tasks_of_project_number("P/1"),
        await api.tasks_of_external_number("X/1"),
        await api.task_by_id("t/1"),
        await api.task_by_number("P/1", "WO/1"),
        await api.tasks_by_number("P/1", "WO/1"),
        await api.task_by_external_number("X/1", "WO/1"),
        await api.tasks_by_production_code("D/1"),
    ]
    # Then
    assert [(method, path.removeprefix("tasks/")) for method, path, _ in ditio.seen] == [
        ("GET", "project/p%2F1"),
        ("GET", "by-project-number/P%2F1"),
        ("GET", "by-external-project-number/X%2F1"),
        ("GET", "t%2F1"),
        ("GET", "by-project-number/P%2F1/by-task-number/WO%2F1"),
        ("GET", "by-project-number/P%2F1/by-task-number/WO%2F1/list"),
        ("GET", "by-external-project-number/X%2F1/by-external-id/WO%2F1"),
        ("GET", "by-production-code/D%2F1"),
    ]
    one, all_of_them = {"id": "t"}, [{"id": "t"}, {"id": "u"}]
    assert found == [all_of_them, all_of_them, all_of_them, one, one, all_of_them, one, all_of_them]
    assert [operation.removeprefix("task_") for operation, _ in ditio.observed if operation.startswith("task")] == [
        "list", "list", "list", "get", "find", "find", "find", "list"
    ]  # fmt: skip


async def test_what_is_sent_is_what_the_page_documents(api: Client, ditio: Ditio) -> None:
    ditio.script = [says(201, {"id": "t"}), says(204), says(200, SHOWN), says(204), says(204)]
    for call in (CREATE, UPDATE, Replace("t-1", {"price": None, "name": "b"}), Delete("t-1")):
        await api.send(call, PROJECT)
    assert [(method, path, body.decode()) for method, path, body in ditio.seen] == [
        ("POST", "tasks", '{"companyId":"c-1","projectId":"p-1","externalId":"WO-1","name":"x"}'),
        ("PATCH", "tasks/t-1", '{"name":"x"}'),
        ("GET", "tasks/t-1", ""),
        ("PUT", "tasks/t-1", '{"companyId":"c-1","projectId":"p-1","externalId":"WO-1","name":"b","textRequired":true}'),
        ("DELETE", "tasks/t-1", ""),
    ]


async def test_deleting_what_is_gone_is_a_success(api: Client, ditio: Ditio) -> None:
    ditio.script = [says(404)]
    assert (await api.send(Delete("t-1"), PROJECT)).task is None


async def test_that_a_task_to_be_deleted_is_gone_is_believed_only_while_the_control_read_succeeds(
    api: Client, ditio: Ditio
) -> None:
    ditio.script, ditio.control = [says(404)], 503
    with pytest.raises(Outage):
        await api.send(Delete("t-1"), PROJECT)


async def test_a_replacement_that_is_refused_counts_the_read_before_it(api: Client, ditio: Ditio) -> None:
    ditio.script = [says(200, SHOWN), says(400)]
    with pytest.raises(Refused) as error:
        await api.send(Replace("t-1", {"name": "b"}), PROJECT)
    assert error.value.attempts == len(ditio.seen) == 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": "Bad", "message": "Ugyldig navn"}, "Ugyldig navn"),
        ({"message": "Feil", "errors": [{"field": "name", "code": "X", "message": "for lang"}]}, "Feil; name: for lang"),
        ({"error": {"message": "Nei"}}, "Nei"),
    ],
)
async def test_what_ditio_says_is_in_the_error_in_each_of_its_forms(api: Client, ditio: Ditio, body: object, said: str) -> None:
    ditio.script = [says(400, body)]
    with pytest.raises(Refused, match=said):
        await api.send(UPDATE, PROJECT)


async def test_no_error_holds_a_secret_or_a_token(api: Client, ditio: Ditio) -> None:
    for answer in (says(400), says(404), says(403)):
        ditio.script = [answer]
        with pytest.raises(ApiError) as error:
            await api.send(UPDATE, PROJECT)
        text = f"{error.value!r} {error.value} {error.value.response}"
        assert SECRET not in text
        assert "token-" not in text


async def test_a_page_that_shows_the_request_shows_neither_token_nor_secret(api: Client, ditio: Ditio) -> None:
    # Given error pages that repeat what they were sent
    async def repeats(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=400, text=f"headers: {dict(request.headers)}")

    ditio.script = [repeats]
    # When
    with pytest.raises(Refused) as refused:
        await api.send(UPDATE, PROJECT)
    ditio.good, ditio.secret = set(), 'se"c ret'
    ditio.token_answer = (400, {"message": f"client_secret={ditio.secret} {quote_plus(ditio.secret)}"})
    with pytest.raises(Outage) as outage:
        await api.send(UPDATE, PROJECT)
    # Then
    text = f"{refused.value!r} {refused.value.response} {outage.value!r}"
    assert "Authorization" in text
    assert not [secret for secret in ("token-1", ditio.secret, 'se\\"c', quote_plus(ditio.secret)) if secret in text]


async def test_every_request_is_observed_under_its_operation(api: Client, ditio: Ditio) -> None:
    ditio.script = [says(201, {"id": "t"}), hangs]
    await api.send(CREATE, PROJECT)
    with pytest.raises(UnknownOutcome):
        await api.send(CREATE, PROJECT)
    assert ditio.observed == [("token", 200), ("task_create", 201), ("task_create", None)]
