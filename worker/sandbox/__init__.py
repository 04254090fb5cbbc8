"""A local Ditio over HTTP, to try things out: it keeps the documented rules, and plays every variant of what is not documented.

It is built from Ditio's documentation anew and imports nothing of the worker, so that a mistake made there does not hide here.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from worker.sandbox.message import Request
from worker.sandbox.options import Options, described
from worker.sandbox.sandbox import Sandbox
from worker.sandbox.seed import seed
from worker.sandbox.server import Server, serve
from worker.sandbox.state import State

__all__ = ["Options", "Request", "Sandbox", "Server", "State", "main", "serve"]

DEFAULT_PORT = 8480


def main(argv: Sequence[str]) -> int:
    """Runs a sandbox until it is interrupted, and returns the exit status."""
    arguments = _parser().parse_args(argv)
    if arguments.options:
        print("\n".join(described()))
        return 0
    try:
        options = Options().changed(dict(_pair(each) for each in arguments.option))
        asyncio.run(_run(arguments, options))
    except (OSError, ValueError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 2
    return 0


async def _run(arguments: argparse.Namespace, options: Options) -> None:
    stop = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    server = await serve(options, host=arguments.host, port=arguments.port, state_file=arguments.state)
    if arguments.seed_demo:
        seed(server.sandbox)
    if arguments.print_env:
        for name, value in environment(server, options).items():
            print(f"export {name}={shlex.quote(value)}", flush=True)
    print(f"Ditio sandbox at {server.url} (admin pages under {server.identity_url}/_sandbox/)", file=sys.stderr, flush=True)
    try:
        await stop.wait()
    finally:
        await server.close()


def environment(server: Server, options: Options) -> dict[str, str]:
    """The settings of a worker that is to use this sandbox."""
    return {
        "DITIO_API_BASE": server.url,
        "DITIO_IDENTITY_BASE": server.identity_url,
        "DITIO_CLIENT_ID": options.client_id,
        "DITIO_CLIENT_SECRET": options.client_secret,
        "DITIO_COMPANY_ID": options.company_id,
    }


def _pair(given: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not equals:
        raise ValueError(f"--option {given}: expected name=value; --options lists them")
    return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ditio-worker sandbox",
        description="A local Ditio over HTTP: identity server, projects, people and all task operations, by the documented rules.\n"
        "What goes wrong is scripted under /_sandbox/faults; /_sandbox/state, log, counts and options show and change the rest.",
        epilog="example:\n  ditio-worker sandbox --seed-demo --option duplicate=409 --state sandbox.json\n"
        "  ditio-worker sandbox --print-env > sandbox.env &    # then, for the worker: . ./sandbox.env",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (127.0.0.1)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"the port, 0 for any free one ({DEFAULT_PORT})")
    parser.add_argument("--state", type=Path, metavar="FILE", help="load the state from this file, and keep it there")
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="a switch; may be given several times"
    )
    parser.add_argument("--options", action="store_true", help="list the switches and stop")
    parser.add_argument("--seed-demo", action="store_true", help="begin with three projects, two foremen and a template")
    parser.add_argument("--print-env", action="store_true", help="print the settings of a worker that uses this sandbox")
    return parser
