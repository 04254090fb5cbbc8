"""What the adaptive limit reaches against every fixed one, for an API that bears so many requests a second, or so many at once.

    python tests/bench/concurrency.py            simulated time, a sandbox in memory: some minutes
    python tests/bench/concurrency.py --real     real time, HTTP over loopback: about ten minutes

Each row is an API, each column a limit; a cell is the requests answered 2xx a second, and the share answered 429: for the
adaptive limit after its first 30 s, for a fixed one after 4 s.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.reconciling import Unobserved, access
from tests.support.simulated import SandboxWire, SimulatedClock, simulate
from worker.api import Access, Client, open_api
from worker.api.limiter import Limiter
from worker.clock import WallClock
from worker.core.errors import WorkerError
from worker.core.limit import Limit
from worker.core.plan import Update
from worker.ports import Clock, Project
from worker.sandbox import Options, Sandbox, serve
from worker.sandbox.seed import seed

FIXED = (1, 2, 4, 8, 16, 32, 64)
SETTLED_S = 30.0
LANES = 64

APIS: Mapping[str, Mapping[str, float]] = {
    "10 at once, 20 ms": {"capacity_concurrent": 10, "latency_s": 0.02},
    "3 at once, 200 ms": {"capacity_concurrent": 3, "latency_s": 0.2},
    "40 at once, 50 ms": {"capacity_concurrent": 40, "latency_s": 0.05},
    "500/s, 20 ms": {"capacity_per_s": 500, "latency_s": 0.02},
    "500/s, 20 ms, Retry-After 1": {"capacity_per_s": 500, "latency_s": 0.02, "retry_after_s": 1},
    "40/s, 100 ms": {"capacity_per_s": 40, "latency_s": 0.1},
    "40/s, 100 ms, Retry-After 1": {"capacity_per_s": 40, "latency_s": 0.1, "retry_after_s": 1},
    "20/s, 5 ms": {"capacity_per_s": 20, "latency_s": 0.005},
    "300/s and 8 at once, 20 ms": {"capacity_per_s": 300, "capacity_concurrent": 8, "latency_s": 0.02},
    "no bound, 20 ms": {"latency_s": 0.02},
}


class Figures(NamedTuple):
    """What came out after it settled: answered 2xx a second, the share answered 429, and the limit at the end."""

    per_s: float
    throttled: float
    limit: int


async def measured(client: Client, sandbox: Sandbox, clock: Clock, *, settle_s: float, measure_s: float) -> Figures:
    """Keeps all lanes busy with updates, and counts what the sandbox answers once it has settled."""
    task = next(iter(sandbox.state.tasks.values()))
    call, project = Update(task["id"], {"name": "x"}), Project(task["projectId"], None, None)

    async def lane() -> None:
        while True:
            try:
                await client.send(call, project)
            except WorkerError:
                await clock.sleep(0.1)

    lanes = [asyncio.ensure_future(lane()) for _ in range(LANES)]
    await clock.sleep(settle_s)
    before, began = Counter(sandbox.counts), clock.monotonic()
    await clock.sleep(measure_s)
    counted, seconds = sandbox.counts - before, clock.monotonic() - began
    for each in lanes:
        each.cancel()
    await asyncio.gather(*lanes, return_exceptions=True)
    statuses: Counter[str] = Counter()
    for (operation, status), count in counted.items():
        if operation != "token":
            statuses[status] += count
    return Figures(statuses["200"] / seconds, statuses["429"] / max(1, statuses.total()), client.concurrency_limit)


def prepared(options: Options, clock: Callable[[], float]) -> Sandbox:
    """A sandbox with a task."""
    sandbox = Sandbox(options, clock)
    fill(sandbox)
    return sandbox


def fill(sandbox: Sandbox) -> None:
    """Puts a task into a sandbox."""
    seed(sandbox)
    project = next(iter(sandbox.state.projects.values()))
    sandbox.state.put({"id": "t-1", "externalId": "WO-1", "projectId": project["id"], "companyId": project["companyId"]})


def fix(client: Client, limit: int | None) -> None:
    """Holds the limit at a number; None leaves it to adapt."""
    if limit is not None:
        limiter: Limiter = client._http._limiter
        limiter.limit = Limit(limit, float(limit))
        limiter._decide = lambda decided: None  # type: ignore[method-assign]  # a limit that does not learn


async def in_memory(
    given: Mapping[str, float], limit: int | None, *, settle_s: float, measure_s: float, seed: int = 0
) -> Figures:
    """On a simulated clock."""
    clock = SimulatedClock(seed)
    sandbox = prepared(Options().changed(given), clock.now)
    where = Access("http://ditio/core", "http://ditio", "sandbox", lambda: "sandbox-secret", Options().company_id)
    async with open_api(where, clock, Unobserved(), wire=SandboxWire(sandbox)) as client:
        fix(client, limit)
        return await measured(client, sandbox, clock, settle_s=settle_s, measure_s=measure_s)


async def over_http(given: Mapping[str, float], limit: int | None, *, settle_s: float, measure_s: float) -> Figures:
    """In real time."""
    server = await serve(Options(client_secret=secrets.token_hex(16)).changed(given))
    fill(server.sandbox)
    try:
        clock = WallClock()
        async with open_api(access(server), clock, Unobserved()) as client:
            fix(client, limit)
            return await measured(client, server.sandbox, clock, settle_s=settle_s, measure_s=measure_s)
    finally:
        await server.close()


def main(argv: Sequence[str]) -> int:
    """Prints the table; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description="adaptive concurrency against fixed settings")
    parser.add_argument("--real", action="store_true", help="real time, HTTP over loopback")
    parser.add_argument("--only", default="", help="only the APIs whose name holds this")
    arguments = parser.parse_args(argv)
    measure_s, missed = (8.0 if arguments.real else 20.0), 0
    print(f"{'API':30}" + "".join(f"{each:>13}" for each in FIXED) + f"{'adaptive':>13}  limit  of best")
    for name, given in APIS.items():
        if arguments.only not in name:
            continue
        cells = []
        for limit in (*FIXED, None):
            settle_s = SETTLED_S if limit is None else 4.0
            if arguments.real:
                cells.append(asyncio.run(over_http(given, limit, settle_s=settle_s, measure_s=measure_s)))
            else:
                cells.append(simulate(in_memory(given, limit, settle_s=settle_s, measure_s=measure_s)))
        *fixed, adaptive = cells
        share = adaptive.per_s / max(each.per_s for each in fixed)
        reached = share >= 0.9 and adaptive.throttled <= 0.01
        missed += not reached
        shown = "".join(f"{each.per_s:7.1f}{each.throttled:6.1%}" for each in cells)
        print(f"{name:30}{shown}{adaptive.limit:7}  {share:7.1%}{'' if reached else '  MISSED'}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
