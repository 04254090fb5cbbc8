"""What tests are given: brokers, vhosts, a sandbox, a worker."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as examples

from tests.support.broker import Broker, Vhost, given_broker, private_broker
from tests.support.cluster import Cluster, Node
from tests.support.postgres import Database, database
from tests.support.process import WorkerProcess, settings
from tests.support.secret import keep_secret, leaks
from worker.demo.packages import NoRabbitMQ, rabbitmq, rabbitmq_of_suite
from worker.demo.postgres import NoPostgres, PostgresServer
from worker.demo.postgres import postgres as postgres_programs
from worker.sandbox import Options, Server, serve
from worker.sandbox.seed import seed

# How long examples take says nothing about a test: other work shares the machine, and on a fresh one the first text has the table of all
# characters made. Hypothesis's own profile "ci" leaves this check out, too.
examples.register_profile("shared machine", suppress_health_check=[HealthCheck.too_slow])
examples.load_profile("shared machine")


def pytest_configure() -> None:
    """A shell that runs the tests in the background has interrupts ignored, also by the commands that the tests start and interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The one way to leave out what needs RabbitMQ or PostgreSQL, and what the contract suite is held against."""
    parser.addoption("--without-broker", action="store_true", help="leave out the tests that need RabbitMQ")
    parser.addoption("--without-postgres", action="store_true", help="leave out the tests that need PostgreSQL")
    contract = parser.getgroup("contract", "tests/contract/test_reference_page.py")
    contract.addoption(
        "--api-base", default="", metavar="URL", help="the Ditio to test, by the DITIO_* variables; else the sandbox"
    )
    contract.addoption(
        "--project-number", default="", metavar="NUMBER", help="a project to use there; else one is made and deleted"
    )
    contract.addoption("--template-task", default="", metavar="ID", help="the template work order of a project there")
    contract.addoption(
        "--field-value", action="append", default=[], metavar="FIELD=ONE,OTHER", help="values of a field that exist there"
    )


def _left_out(config: pytest.Config) -> None:
    if config.getoption("--without-broker"):
        pytest.skip("left out by --without-broker")


def _say(text: str) -> None:
    print(text, flush=True)


@pytest.fixture(scope="session")
def broker(pytestconfig: pytest.Config) -> Iterator[Broker]:
    """RabbitMQ of the distribution (3.10 or newer), or that of AMQP_URL."""
    _left_out(pytestconfig)
    if url := os.environ.get("AMQP_URL"):
        with given_broker(url) as given:
            yield given
        return
    try:
        sbin = rabbitmq(_say)
    except NoRabbitMQ as error:
        pytest.fail(f"{error}; --without-broker leaves these tests out", pytrace=False)
    with private_broker(sbin) as own:
        yield own


@pytest.fixture(scope="session")
def broker4(pytestconfig: pytest.Config) -> Iterator[Broker]:
    """RabbitMQ 4.0, beside the distribution's own."""
    _left_out(pytestconfig)
    try:
        sbin = rabbitmq_of_suite("trixie", _say)
    except NoRabbitMQ as error:
        pytest.fail(f"{error}; --without-broker leaves these tests out", pytrace=False)
    with private_broker(sbin) as own:
        yield own


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> Iterator[PostgresServer]:
    """PostgreSQL of the distribution, for all tests that do not stop it."""
    with given_postgres(pytestconfig) as server:
        yield server


@pytest.fixture
def own_postgres(pytestconfig: pytest.Config) -> Iterator[PostgresServer]:
    """A PostgreSQL of the test's own, which may be stopped and started."""
    with given_postgres(pytestconfig) as server:
        yield server


@contextmanager
def given_postgres(config: pytest.Config) -> Iterator[PostgresServer]:
    """A running server that does not wait for the disk: no test cuts the machine's power."""
    if config.getoption("--without-postgres"):
        pytest.skip("left out by --without-postgres")
    try:
        server = PostgresServer(postgres_programs(_say), "fsync = off\n")
        keep_secret(server.password)
        with server:
            yield server
    except NoPostgres as error:
        pytest.fail(f"{error}; --without-postgres leaves these tests out", pytrace=False)


@pytest.fixture
async def postgres(postgres_server: PostgresServer) -> AsyncIterator[Database]:
    """A database of the test's own, with a role that may do in it what docs/operating.md gives a worker, and nothing else."""
    async with database(postgres_server) as own:
        yield own


@pytest.fixture
def vhost(broker: Broker) -> Iterator[Vhost]:
    """A vhost of the test's own."""
    with broker.vhost() as vhost:
        yield vhost


@pytest.fixture(params=["broker", "broker4"])
def any_vhost(request: pytest.FixtureRequest) -> Iterator[Vhost]:
    """A vhost of the test's own, once on each version of RabbitMQ."""
    broker: Broker = request.getfixturevalue(request.param)
    with broker.vhost() as vhost:
        yield vhost


@pytest.fixture
def cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """RabbitMQ 4.0 on three nodes."""
    _left_out(pytestconfig)
    try:
        sbin = rabbitmq_of_suite("trixie", _say)
    except NoRabbitMQ as error:
        pytest.fail(f"{error}; --without-broker leaves these tests out", pytrace=False)
    with Cluster(sbin) as started:
        yield started


@pytest.fixture
def clustered(cluster: Cluster) -> Iterator[Vhost]:
    """A vhost of the cluster's; all nodes must run again at the end."""
    with cluster.nodes[0].broker() as broker, broker.vhost() as vhost:
        yield vhost


@pytest.fixture
async def ditio() -> AsyncIterator[Server]:
    """A sandbox with three projects, two foremen and no template. It keeps twins, so that nothing but the worker prevents them."""
    server = await serve(Options(client_secret=keep_secret(secrets.token_hex(16)), duplicate="allow"))
    seed(server.sandbox)
    server.sandbox.state.templates.clear()
    yield server
    for token in server.sandbox.tokens:
        keep_secret(token)
    await server.close()


@pytest.fixture(scope="module")
def node(pytestconfig: pytest.Config) -> Iterator[Node]:
    """A broker that may be stopped, and whose rules may be changed."""
    _left_out(pytestconfig)
    with Node(rabbitmq(_say)) as started:
        assert isinstance(started, Node)
        yield started


@pytest.fixture
def own(node: Node) -> Iterator[Vhost]:
    """A vhost on that broker."""
    with node.broker() as broker, broker.vhost() as vhost:
        yield vhost


@pytest.fixture
def lonely(own: Vhost, ditio: Server, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker on that broker, not started yet."""
    process = WorkerProcess(settings(own.url, ditio, tmp_path), tmp_path)
    yield process
    process.kill()
    assert leaks(process.log()) == []


@pytest.fixture
def worker(vhost: Vhost, ditio: Server, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker that is not started yet; it is stopped at the end."""
    process = WorkerProcess(settings(vhost.url, ditio, tmp_path), tmp_path)
    yield process
    process.kill()
    assert leaks(process.log()) == [], "secrets in the worker's log"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What was printed must be able to go from process to process, also what is no Unicode."""
    report = yield
    report.sections = [(name, content.encode(errors="backslashreplace").decode()) for name, content in report.sections]
    return report


OUTPUT: list[str] = []
"""What tests have printed and logged, and what was told of those that failed."""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keeps all output of the run: a token that is used now may have been printed before it was known to be a secret."""
    OUTPUT.extend((report.longreprtext, *(content for _, content in report.sections)))


def pytest_sessionstart(session: pytest.Session) -> None:
    """What is fetched from the distribution is fetched once, before the tests are shared out among processes."""
    config = session.config
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        return
    with suppress(NoRabbitMQ, NoPostgres):  # the tests that need them say so
        if not config.getoption("--without-postgres"):
            postgres_programs(_say)
        if not config.getoption("--without-broker"):
            if not os.environ.get("AMQP_URL"):
                rabbitmq(_say)
            rabbitmq_of_suite("trixie", _say)


LEAKS: set[str] = set()
"""Secrets that were found in the output of the processes among which the tests were shared out."""


def pytest_sessionfinish(session: pytest.Session) -> None:
    """No secret that any test used is in any output of the run."""
    found = {leak for text in OUTPUT for leak in leaks(text)}
    if (told := getattr(session.config, "workeroutput", None)) is not None:
        told["leaks"] = sorted(found)
    elif found := found | LEAKS:
        print(f"\nsecrets in the output of the tests: {', '.join(sorted(found))}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """One of the processes has ended."""
    LEAKS.update(getattr(node, "workeroutput", {}).get("leaks", ()))
