"""What may import what, and what no file may hold, as tables and a checker that reads source texts."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from typing import NamedTuple

LAYERS: Mapping[str, int] = {
    "core": 0,
    "ports": 1,
    **dict.fromkeys(
        (
            "topology",
            "rabbit",
            "api",
            "ledger",
            "resolve",
            "cache",
            "listings",
            "config",
            "metrics",
            "health",
            "log",
            "lanes",
            "clock",
            "letters",
            "turns",
            "stopping",
            "holding",
            "budget",
        ),
        2,
    ),
    "caution": 3,
    "round": 2,
    "references": 3,
    "calls": 3,
    "breaker": 2,
    "reconcile": 3,
    "handling": 3,
    "settle": 4,
    "process": 4,
    "watch": 5,
    "causes": 5,
    "flow": 5,
    "rehearsal": 5,
    "pauses": 5,
    "restored": 5,
    "skew": 5,
    "dead": 5,
    "chores": 6,
    "wiring": 6,
    "assembly": 7,
    "service": 8,
    "account": 7,
    "preflight": 9,
    "cli": 10,
    "__main__": 11,
}
"""A part imports those of its own number or less; `sandbox` and `demo` stand beside them."""

ADAPTERS = frozenset({"rabbit", "api", "ledger", "resolve", "config", "metrics", "health", "log"})
"""None of them imports another."""

LIBRARIES: Mapping[str, frozenset[str]] = {
    "core": frozenset({"msgspec"}),
    "ports": frozenset({"msgspec"}),
    "rabbit": frozenset({"pika", "msgspec"}),
    "api": frozenset({"httpx", "aiohttp", "yarl", "msgspec", "tenacity"}),
    "ledger": frozenset({"msgspec", "psycopg", "psycopg_pool"}),
    "resolve": frozenset(),
    "config": frozenset(),
    "metrics": frozenset({"prometheus_client"}),
    "health": frozenset({"aiohttp"}),
    "log": frozenset(),
    "lanes": frozenset(),
    "cache": frozenset(),
    "listings": frozenset({"msgspec"}),
    "turns": frozenset(),
    "caution": frozenset(),
    "round": frozenset({"msgspec"}),
    "references": frozenset(),
    "calls": frozenset({"msgspec"}),
    "reconcile": frozenset({"msgspec"}),
    "handling": frozenset({"msgspec"}),
    "settle": frozenset({"msgspec"}),
    "process": frozenset({"msgspec"}),
    "rehearsal": frozenset({"msgspec"}),
    "dead": frozenset({"msgspec"}),
    "sandbox": frozenset({"aiohttp"}),
}
"""The libraries that a part may use; msgspec is the form of plain values everywhere. api's aiohttp and yarl are in one file, ledger's
psycopg in those that begin with `postgres`."""

IMPURE = frozenset(
    {
        "asyncio",
        "logging",
        "os",
        "random",
        "secrets",
        "socket",
        "subprocess",
        "threading",
        "time",
        "sqlite3",
        "pathlib",
        "io",
        "urllib.request",
    }
)
"""What the core does without."""

FORBIDDEN = re.compile(
    r"TODO|FIXME|XXX|/work/|pypi\.org|pythonhosted|registry\.npmjs|deb\.debian\.org|ftp\.debian|file://(?!\{)",
    re.IGNORECASE,
)
LONGEST_FILE = 400
LONGEST_FUNCTION = 60
TOP = frozenset({"worker", "schemas", "tests", "helm", "docs", ".ci"})


class Fault(NamedTuple):
    """A rule that a file breaks."""

    file: str
    line: int
    rule: str


def faults_in(file: str, source: str) -> Iterator[Fault]:
    """The rules that a Python file of the worker breaks. `file` is its path from the root, such as `worker/core/plan.py`."""
    tree = ast.parse(source)
    part = part_of(file)
    for line, module in _imports(tree):
        yield from (Fault(file, line, rule) for rule in _import_rules(part, file, module))
    yield from _at_import(file, tree)
    yield from _sizes(file, source, tree)


def text_faults(file: str, text: str) -> Iterator[Fault]:
    """Words that no file of the project may hold."""
    for number, line in enumerate(text.splitlines(), 1):
        if found := FORBIDDEN.search(line):
            yield Fault(file, number, f"holds {found.group()!r}")


def part_of(file: str) -> str:
    """The part of the worker that a file belongs to."""
    return file.removeprefix("worker/").removesuffix(".py").split("/")[0]


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, each.name) for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            if node.module == "worker":
                yield from ((node.lineno, f"worker.{each.name}") for each in node.names)
            else:
                yield node.lineno, node.module


def _import_rules(part: str, file: str, module: str) -> Iterator[str]:
    if module.startswith("worker."):
        other = module.split(".")[1]
        if other in LAYERS or other in ("sandbox", "demo"):
            yield from _own_rules(part, other)
        return
    library = module.split(".", maxsplit=1)[0]
    if part == "core" and (module in IMPURE or library in IMPURE):
        yield f"the core uses {module}"
    if library in sys.stdlib_module_names or part not in LIBRARIES:
        return
    if library not in LIBRARIES[part]:
        yield f"{part} uses {library}"
    if library in ("aiohttp", "yarl") and part == "api" and not file.endswith("transport.py"):
        yield f"{library} is used outside api/transport.py"
    if library.startswith("psycopg") and part == "ledger" and "/postgres" not in file:
        yield f"{library} is used outside ledger/postgres*.py"


def _own_rules(part: str, other: str) -> Iterator[str]:
    if part == other or part == "demo":
        return
    if part == "sandbox":
        yield f"the sandbox imports {other}"
    elif other in ("sandbox", "demo"):
        yield f"{part} imports {other}"
    elif part in ADAPTERS and other in ADAPTERS:
        yield f"the adapter {part} imports the adapter {other}"
    elif LAYERS.get(part, 10) < LAYERS[other]:
        yield f"{part} imports {other}, which stands above it"


def _at_import(file: str, tree: ast.Module) -> Iterator[Fault]:
    """Nothing reads environment, disk or network while it is imported."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.If):
            continue
        for inner in ast.walk(node):
            called = (
                ast.unparse(inner.func)
                if isinstance(inner, ast.Call)
                else ast.unparse(inner)
                if isinstance(inner, ast.Subscript)
                else ""
            )
            if re.match(r"open$|os\.(environ|getenv)|socket\.|subprocess\.|.*\.read_(text|bytes)$|httpx\.(get|post)", called):
                yield Fault(file, node.lineno, f"{called} while it is imported")


def _sizes(file: str, source: str, tree: ast.AST) -> Iterator[Fault]:
    if (lines := source.count("\n")) > LONGEST_FILE:
        yield Fault(file, lines, f"{lines} lines: ask what it is really two of")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > LONGEST_FUNCTION:
                yield Fault(file, node.lineno, f"{node.name} has {length} lines")
