"""The worker beside its peers and the floor, in turn, several times, and each time every event really applied: `make bench`.

    python -m tests.bench.throughput              two rounds of 10,000 events, about 10 minutes
    python -m tests.bench.throughput --quick      one round of 3,000, about 2 minutes

All of them take the same events (400 bytes, one for each work order) from the same quorum queue, which is full when they start, and
write to the same API (tests.bench.server: 20 ms). A rate is that of the middle of a run, from a fifth to nineteen twentieths of its
events; CPU is that of the process over the same time. Needs Node 20 or newer with npm; without it these rows say so.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import pika

from tests.support.publishing import event
from worker.demo.apt import cache_folder
from worker.demo.node import BrokerNode
from worker.demo.packages import rabbitmq

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
PEERS = HERE / "peers"
QUEUE = "workorders.events"
FROM, TO = 0.2, 0.95
LONGEST_S = 120.0
ACKNOWLEDGED_S = 1.0
"""After so long the last answers are acknowledged: what is not would come to whoever is measured next, and fails the run."""
PYTHON_PEERS = ("pyreqwest==0.15.1", "faststream[rabbit]==0.7.8", "httpx==0.28.1", "pika>=1.4,<2", "uvloop")
NODE_PEERS = ("undici@7", "amqplib@0.10")
FLOOR, WORKER = "floor: pika asyncio + pyreqwest, PATCH only", "Ditio Worker"


@dataclass(frozen=True)
class Figures:
    """One run: events a second, CPU microseconds an event, calls an event, and the most memory in MB."""

    per_s: float
    cpu_us: float
    calls: float
    memory_mb: float


class Bench:
    """A broker, an API, and what is measured between them."""

    def __init__(self, stack: ExitStack, events: int) -> None:
        self.events = events
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ditio-bench-")))
        self.amqp = stack.enter_context(BrokerNode(rabbitmq(print))).amqp_url
        self.api = stack.enter_context(_api())
        self._round = 0

    def fill(self, kind: str) -> None:
        """Puts an event for each work order into the queue."""
        self._round += 1
        self.get("_reset")
        time_ = f"2026-03-15T{8 + self._round // 3600:02}:{self._round // 60 % 60:02}:{self._round % 60:02}Z"
        self._pour([self._event(kind, number, time_) for number in range(self.events)])

    def _pour(self, bodies: Sequence[bytes]) -> None:
        """Publishes all of them; the confirm of the last is that of all. Nothing else may be in the queue: peers know no other events."""
        properties = pika.BasicProperties(content_type="application/cloudevents+json", delivery_mode=2)
        connection = pika.BlockingConnection(pika.URLParameters(self.amqp))
        try:
            channel = connection.channel()
            for body in bodies[:-1]:
                channel.basic_publish("", QUEUE, body, properties)
            channel.confirm_delivery()
            channel.basic_publish("", QUEUE, bodies[-1], properties)
        finally:
            connection.close()

    def _event(self, kind: str, number: int, time_: str) -> bytes:
        more = {"active": True, "workDescription": "x" * 110} if kind == "created" else {"workDescription": "x" * 125}
        name = f"Grunnarbeid {self._round}-{number}"
        return event(kind, f"WO-{number:07}", time=time_, name=name, estimatedHourQty=750, **more).body

    def run(self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Figures:
        """Starts a consumer of the full queue, and stops it when all is written and acknowledged."""
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [*command], cwd=ROOT, env={**os.environ, **(environment or {})}, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        try:
            marks = self._watched(process)
            memory = _memory(process.pid)
        finally:
            process.terminate()
            process.wait(30)
        self._all_applied()
        assert not self._depth(), "not all was acknowledged"
        return self._figures(marks, memory)

    def _watched(self, process: subprocess.Popen[bytes]) -> list[tuple[int, float]]:
        marks, deadline = [(0, _cpu(process.pid))], time.monotonic() + LONGEST_S
        while marks[-1][0] < self.events:
            assert process.poll() is None, f"it has ended: {(self.folder / 'log').read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"{marks[-1][0]} of {self.events} written in {LONGEST_S:.0f} s"
            time.sleep(0.05)
            marks.append((self.get("_count"), _cpu(process.pid)))
        time.sleep(ACKNOWLEDGED_S)
        return marks

    def _figures(self, marks: list[tuple[int, float]], memory: float) -> Figures:
        times = sorted(self.get("_times"))
        first, last = int(self.events * FROM), int(self.events * TO) - 1
        inner = [mark for mark in marks if first <= mark[0] <= last]
        (count, cpu), (later, cpu_later) = inner[0], inner[-1]
        counts = self.get("_counts")
        return Figures(
            (last - first) / (times[last] - times[first]),
            (cpu_later - cpu) / max(1, later - count) * 1e6,
            sum(counts.values()) / self.events,
            memory,
        )

    def _all_applied(self) -> None:
        written = self.get("_written")
        wrong = [n for n in range(self.events) if written.get(f"WO-{n:07}") != f"Grunnarbeid {self._round}-{n}"]
        assert not wrong, f"{len(wrong)} events were not applied, the first for WO-{wrong[0]:07}"

    def _depth(self) -> int:
        """Messages that are ready; what a consumer holds shows when it is gone."""
        connection = pika.BlockingConnection(pika.URLParameters(self.amqp))
        try:
            return int(connection.channel().queue_declare(QUEUE, passive=True).method.message_count)
        finally:
            connection.close()

    def get(self, path: str):  # type: ignore[no-untyped-def]  # JSON
        """What the API tells of itself."""
        return httpx.get(f"{self.api}/{path}", timeout=30, trust_env=False).json()

    def worker(self, in_flight: int) -> Figures:
        """The worker, on the one ledger of this bench."""
        environment = {
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.folder),
            "AMQP_URL": self.amqp,
            "DITIO_API_BASE": f"{self.api}/core",
            "DITIO_IDENTITY_BASE": self.api,
            "DITIO_CLIENT_ID": "bench",
            "DITIO_CLIENT_SECRET": "bench",
            "DITIO_COMPANY_ID": "c-1",
            "LEDGER_URL": f"sqlite://{self.folder}/ledger.db",
            "WORKER_HTTP_ADDRESS": "127.0.0.1:0",
            "WORKER_MAX_IN_FLIGHT": str(in_flight),
        }
        return self.run([sys.executable, "-m", "worker", "run"], environment)

    def declare(self) -> None:
        """The queue, as the worker declares it."""
        subprocess.run(
            [sys.executable, "-c", DECLARE, self.amqp], check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )


DECLARE = """
import asyncio, sys
from worker.rabbit import Access, connect, declare
from worker.topology import Topology
async def main():
    connection = await connect(Access(lambda: sys.argv[1:]), "bench")
    await declare(connection, Topology())
    await connection.close()
asyncio.run(main())
"""


@contextmanager
def _api() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.server"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def _cpu(pid: int) -> float:
    """Seconds of user and system time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def peers(home: Path) -> tuple[Path, str | None]:
    """The Python that has the Python peers, and Node if it is there; both fetched at first use."""
    python = home / "venv/bin/python"
    uv = Path(sys.executable).parent / "uv"
    if not python.exists():
        print("fetching the peers; this happens once", flush=True)
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, python.parents[1]], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *PYTHON_PEERS], check=True)
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        print("Node's rows are left out: node and npm are not installed (Node 20 or newer)", flush=True)
        return python, None
    if not (home / "node_modules").is_dir():
        subprocess.run([npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", home, *NODE_PEERS], check=True)
    return python, node


def rounds(bench: Bench, times: int, in_flight: int) -> dict[str, list[Figures]]:
    """Everyone in turn, several times."""
    home = cache_folder() / "bench"
    python, node = peers(home)
    arguments = [bench.amqp, QUEUE, bench.api, str(in_flight)]
    faststream: list[str | Path]
    consumers: dict[str, Sequence[str | Path]] = {FLOOR: [python, PEERS / "floor.py", *arguments]}
    if node is not None:
        script: list[str | Path] = [node, PEERS / "node.cjs", *arguments]
        consumers |= {"Node, amqplib + undici, PATCH only": [*script, "1"], "the same, look-up and PATCH": [*script, "2"]}
    if in_flight <= 64:  # with more in flight httpx's pool is slower, not faster
        faststream = [python, PEERS / "faststream_httpx.py", *arguments[:-1], "16"]
        consumers["FastStream + httpx, look-up and PATCH, 16 in flight"] = faststream
    found: dict[str, list[Figures]] = {}
    for _ in range(times):
        bench.fill("updated")
        found.setdefault(WORKER, []).append(bench.worker(in_flight))
        _say(WORKER, found[WORKER][-1])
        for name, command in consumers.items():
            bench.fill("updated")
            found.setdefault(name, []).append(bench.run(command, {"NODE_PATH": str(home / "node_modules")}))
            _say(name, found[name][-1])
    return found


def _say(name: str, figures: Figures) -> None:
    print(
        f"  {name:52} {figures.per_s:7,.0f} /s {figures.cpu_us:7,.0f} µs  {figures.calls:4.2f} calls  {figures.memory_mb:4.0f} MB",
        flush=True,
    )


def table(in_flight: int, found: Mapping[str, Sequence[Figures]]) -> list[str]:
    """Medians, spread, and the ratio to the floor, in Markdown."""
    floor = statistics.median(each.per_s for each in found[FLOOR])
    lines = [
        f"| {in_flight} in flight | events/s | lowest to highest | of the floor | CPU µs/event | calls/event |",
        "|---|---|---|---|---|---|",
    ]
    for name, runs in found.items():
        rates, cpu = [each.per_s for each in runs], statistics.median(each.cpu_us for each in runs)
        middle = statistics.median(rates)
        lines.append(
            f"| {name} | {middle:,.0f} | {min(rates):,.0f} to {max(rates):,.0f} | {middle / floor:.2f} | {cpu:,.0f} | {runs[0].calls:.2f} |"
        )
    return lines


def picture(results: Mapping[int, Mapping[str, Sequence[Figures]]]) -> str:
    """The medians as bars, in SVG."""
    rows = [
        (f"{n}: {name}", statistics.median(r.per_s for r in runs)) for n, found in results.items() for name, runs in found.items()
    ]
    most = max(rate for _, rate in rows)
    bars = "".join(
        f'<text x="8" y="{26 * place + 18}">{name}</text>'
        f'<rect x="390" y="{26 * place + 4}" width="{rate / most * 300:.0f}" height="19" fill="{"#b5472f" if WORKER in name else "#8aa0b4"}"/>'
        f'<text x="{396 + rate / most * 300:.0f}" y="{26 * place + 18}">{rate:,.0f}/s</text>'
        for place, (name, rate) in enumerate(rows)
    )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 770 {26 * len(rows) + 8}" font-family="sans-serif" font-size="13">'
    )
    return f"{head}{bars}</svg>\n"


def main(argv: Sequence[str]) -> int:
    """Prints the tables, and writes JSON and SVG where asked to."""
    parser = argparse.ArgumentParser(description="the worker beside its peers and the floor")
    parser.add_argument("--quick", action="store_true", help="one round of 3,000 events at 64 in flight")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    parser.add_argument("--svg", type=Path, help="draw the medians into this file")
    arguments = parser.parse_args(argv)
    events, times, sizes = (3_000, 1, (64,)) if arguments.quick else (10_000, 2, (64, 200))
    with ExitStack() as stack:
        bench = Bench(stack, events)
        bench.declare()
        bench.fill("created")
        cold = bench.worker(64)
        print(f"cold: {events:,} creates", flush=True)
        _say(WORKER, cold)
        results: dict[int, Mapping[str, Sequence[Figures]]] = {}
        for in_flight in sizes:
            print(f"{in_flight} in flight, one update for each work order", flush=True)
            results[in_flight] = rounds(bench, times, in_flight)
    for in_flight, found in results.items():
        print("", *table(in_flight, found), sep="\n")
    if arguments.json:
        told = {str(n): {name: [asdict(r) for r in runs] for name, runs in found.items()} for n, found in results.items()}
        arguments.json.write_text(json.dumps({"events": events, "cold": asdict(cold), **told}, indent=1) + "\n")
    if arguments.svg:
        arguments.svg.write_text(picture(results))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
