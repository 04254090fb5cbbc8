"""The whole thing on this machine: RabbitMQ, a local Ditio, the worker, and a story of events. Cleans up after itself."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from worker.core.errors import WorkerError
from worker.demo.stage import demo

INTERRUPTED = 130


def main(argv: Sequence[str]) -> int:
    """Plays the demo and returns the exit status: 0 only if everything is as it must be."""
    arguments = _parser().parse_args(argv)
    try:
        return asyncio.run(demo(keep=arguments.keep, seed=arguments.seed, replicas=arguments.replicas))
    except KeyboardInterrupt:
        print("interrupted; everything is stopped and removed", file=sys.stderr)
        return INTERRUPTED
    except WorkerError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ditio-worker demo",
        description="Starts a private RabbitMQ node (of the distribution's packages, fetched at first use; or uses AMQP_URL), a local\n"
        "Ditio and the worker; publishes over 200 events of 3 projects, some doubled, late or broken; shows what became of them.",
        epilog="example:\n  ditio-worker demo\n  KEEP=1 ditio-worker demo     # leaves it running and prints the addresses\n"
        "  ditio-worker demo --replicas 3   # three workers and a private PostgreSQL",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--keep", action="store_true", default=bool(os.environ.get("KEEP")), help="leave it running (also KEEP=1)"
    )
    parser.add_argument(
        "--replicas",
        type=int,
        choices=range(1, 9),
        metavar="1…8",
        default=os.environ.get("REPLICAS") or "1",
        help="how many workers share the events, with a private PostgreSQL if it is more than one (also REPLICAS=3)",
    )
    parser.add_argument("--seed", type=int, default=2026, help="another order of the same events (2026)")
    return parser
