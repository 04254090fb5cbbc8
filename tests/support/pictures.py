"""The pictures of the documentation, drawn from the tables that the worker runs by: `python -m tests.support.pictures` writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from worker.core import circuit, lifecycle

PAGE = Path(__file__).parents[2] / "docs" / "lifecycle.md"

Table = Mapping[Any, Mapping[Any, str]]

TABLES: Mapping[str, Table] = MappingProxyType({"worker": lifecycle.TRANSITIONS, "circuit": circuit.TRANSITIONS})
"""By the name that the page has for each; the first state is where it begins."""

PICTURE = re.compile(r"(<!-- picture: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def mermaid(table: Table) -> str:
    """A state diagram: one arrow for each entry of the table."""
    name = {state: state.replace("-", "_") for state in table}
    lines = ["stateDiagram-v2", f"    [*] --> {name[next(iter(table))]}"]
    lines += [f'    state "{state}" as {name[state]}' for state in table if name[state] != state]
    for state, turns in table.items():
        lines += [f"    {name[state]} --> {name[after]}: {turn}" for turn, after in turns.items()]
        if not turns:
            lines.append(f"    {name[state]} --> [*]")
    return "\n".join(lines)


def drawn(page: str) -> str:
    """The page with its pictures as the tables are now. Raises KeyError for one of which there is no table."""
    return PICTURE.sub(lambda found: f"{found[1]}```mermaid\n{mermaid(TABLES[found[2]])}\n```\n{found[3]}", page)


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text("utf-8")), "utf-8")
