"""What the demo needs around it: a broker, a sandbox, workers as processes; and the order in which things happen."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from worker.clock import WallClock
from worker.core.message import Message
from worker.demo.node import BrokerNode
from worker.demo.packages import rabbitmq
from worker.demo.report import faults, letters_table, tasks_table
from worker.demo.story import FOREMEN, LATE_FOREMAN, LATE_PROJECT, PROJECTS, Story, tell
from worker.demo.workers import DemoError, Worker, ended, ledger_for, outcomes_of
from worker.rabbit import Access, Connection, Intake, Publisher, connect, depth
from worker.sandbox import Options, Request, Server, serve
from worker.sandbox import environment as sandbox_environment
from worker.sandbox.admin import administer
from worker.sandbox.sandbox import requests_of
from worker.topology import Topology

LATE_S = 4.0
"""When the late project and the late foreman appear."""

PATIENCE_S = 120.0
POLL_S = 0.3
WAIT_STEPS = (1, 2, 5)

NARROWEST = 120
"""Columns of the tables where there is no terminal to ask."""

console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=NARROWEST)


async def demo(*, keep: bool, seed: int, replicas: int = 1) -> int:
    """Plays the story and returns 0 if everything is as it must be."""
    began = time.monotonic()
    story = tell(seed)
    prefix = f"demo-{os.getpid()}" if os.environ.get("AMQP_URL") else "workorders"
    topology = Topology(prefix=prefix, wait_steps=WAIT_STEPS)
    async with AsyncExitStack() as stack:
        amqp_url = stack.enter_context(_broker())
        server = await stack.enter_async_context(_sandbox())
        folder = stack.enter_context(_folder())
        settings = _settings(amqp_url, server, topology, stack.enter_context(ledger_for(replicas, folder, console.print)))
        workers = [stack.enter_context(Worker(settings, folder / f"worker-{number}.log")) for number in range(replicas)]
        await asyncio.gather(*(worker.ready() for worker in workers))
        for worker in workers:
            console.print(f"the worker runs as process {worker.pid}; its pages are at {worker.address}")
        access = Access(lambda: (amqp_url,))
        connection = await connect(access, "demo")
        stack.push_async_callback(connection.close)
        await _play(story, access, topology, server, workers)
        letters = await _read(access, connection, topology.dead)
        console.print(tasks_table(server.sandbox.state))
        console.print(letters_table(letters))
        wrong = faults(story, server.sandbox.state, letters)
        requests = {name: sum(by.values()) for name, by in requests_of(server.sandbox.counts).items()}
        console.print(f"{len(story.messages)} events, {sum(requests.values())} requests to Ditio: {_listed(requests)}")
        if replicas > 1:
            shares = ", ".join([f"{ended(await worker.outcomes())} by process {worker.pid}" for worker in workers])
            console.print(f"the workers shared them: {shares}")
        console.print(f"{time.monotonic() - began:.0f} s in all")
        for each in wrong:
            console.print(f"[red]not as it must be:[/] {each}")
        if not wrong:
            console.print("[green]everything is as it must be[/]")
        if keep:
            await _keep(settings, server, workers)
        if os.environ.get("AMQP_URL"):
            await _remove(connection, topology)
    return 1 if wrong else 0


@contextmanager
def _broker() -> Iterator[str]:
    """The AMQP address of the broker that AMQP_URL names, or of a private node."""
    if given := os.environ.get("AMQP_URL"):
        console.print("using the broker of AMQP_URL")
        yield given
        return
    sbin = rabbitmq(console.print)
    with console.status("starting a private RabbitMQ node"):
        node = BrokerNode(sbin).__enter__()
    try:
        console.print(f"RabbitMQ runs at port {node.port}; its management at {node.management_url}")
        yield node.amqp_url
    finally:
        with console.status("stopping RabbitMQ"):
            node.close()


@asynccontextmanager
async def _sandbox() -> AsyncIterator[Server]:
    server = await serve(Options())
    for number, name in PROJECTS.items():
        if number != LATE_PROJECT:
            _appear(server, "projects", {"projectNumber": number, "name": name})
    for number, name in FOREMEN.items():
        if number != LATE_FOREMAN:
            _appear(server, "users", {"employeeNumber": number, "name": name})
    console.print(f"a local Ditio is at {server.url}")
    try:
        yield server
    finally:
        await server.close()


def _appear(server: Server, what: str, thing: Mapping[str, object]) -> None:
    """Somebody makes something in Ditio."""
    administer(server.sandbox, Request("POST", f"/_sandbox/{what}", body=json.dumps(thing).encode()))


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ditio-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _settings(amqp_url: str, server: Server, topology: Topology, ledger_url: str) -> dict[str, str]:
    return {
        "AMQP_URL": amqp_url,
        **sandbox_environment(server, server.sandbox.options),
        "LEDGER_URL": ledger_url,
        "WORKER_QUEUE_PREFIX": topology.prefix,
        "WORKER_WAIT_STEPS_S": ",".join(str(step) for step in WAIT_STEPS),
        "WORKER_HTTP_ADDRESS": "127.0.0.1:0",
        "DITIO_TIMEOUT_S": "5",
        "DITIO_SETTLE_S": "3",
    }


async def _play(story: Story, access: Access, topology: Topology, server: Server, workers: Sequence[Worker]) -> None:
    """Publishes everything, lets the late ones appear, and returns when every event has ended."""
    publisher = Publisher(access)
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        published = progress.add_task("published", total=len(story.messages), note="")
        settled = progress.add_task("settled", total=len(story.messages), note="")

        async def publish(message: Message) -> None:
            await publisher.publish_to(topology.exchange, message.routing_key, message)
            progress.advance(published)

        try:
            await asyncio.gather(*(publish(message) for message in story.messages))
        finally:
            await publisher.close()
        began, late = time.monotonic(), False
        while True:
            outcomes = await outcomes_of(workers)
            done = ended(outcomes)
            progress.update(settled, completed=done, note=_listed(outcomes))
            if done >= len(story.messages):
                return
            if not late and time.monotonic() - began > LATE_S:
                late = True
                _appear(server, "projects", {"projectNumber": LATE_PROJECT, "name": PROJECTS[LATE_PROJECT]})
                _appear(server, "users", {"employeeNumber": LATE_FOREMAN, "name": FOREMEN[LATE_FOREMAN]})
                console.print(f"only now do project {LATE_PROJECT} and foreman {LATE_FOREMAN} appear in Ditio")
            if time.monotonic() - began > PATIENCE_S:
                raise DemoError(f"only {done} of {len(story.messages)} events have ended after {PATIENCE_S:.0f} s")
            await asyncio.sleep(POLL_S)


async def _read(access: Access, connection: Connection, queue: str) -> list[Message]:
    """The messages of a queue, all of them; they go back to it when the channel is closed."""
    messages: list[Message] = []

    async def nothing(_: Connection) -> None: ...

    count, _ = await depth(connection, queue)
    intake = Intake(
        access,
        queue,
        prefetch=count + 1,
        clock=WallClock(),
        prepare=nothing,
        on_delivery=lambda delivery: messages.append(delivery.message),
        on_lost=lambda error: None,
        on_late_ack=lambda: None,
    )
    await intake.start()
    while len(messages) < count:
        await asyncio.sleep(POLL_S)
    await intake.close()
    return messages


async def _keep(settings: Mapping[str, str], server: Server, workers: Sequence[Worker]) -> None:
    """Leaves everything running until Ctrl-C."""
    console.print("\nleft running until Ctrl-C (KEEP=1):")
    for name, value in settings.items():
        console.print(f"  export {name}={value}", soft_wrap=True)
    for worker in workers:
        console.print(f"  worker: {worker.address}/metrics {worker.address}/readyz")
    console.print(f"  Ditio:  {server.identity_url}/_sandbox/state")
    await asyncio.Event().wait()


async def _remove(connection: Connection, topology: Topology) -> None:
    """Takes the demo's queues away from a broker that is not its own."""
    channel = await connection.channel()
    for queue in topology.queues:
        await channel.call(channel.raw.queue_delete, queue=queue.name)
    await channel.call(channel.raw.exchange_delete, exchange=topology.exchange)
    await channel.close()


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda each: -each[1]))
