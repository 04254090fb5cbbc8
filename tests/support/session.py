"""A terminal session as the documentation shows it: commands and what they print, with the same ids and times each time it is made."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

Run = Callable[..., Awaitable[tuple[int, str, str]]]

BEGIN, END = "<!-- session: made by a test -->\n", "<!-- /session -->\n"
LETTER = re.compile(r"\b[0-9a-f]{32}\b")
TASK = re.compile(r"\b[0-9a-f]{24}\b")
TIME = re.compile(r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z")
DELIVERIES = re.compile(r"^x-delivery-count +\d+\n", re.MULTILINE)
"""How often a letter was looked at differs by the version of the broker."""


async def shown(run: Run, words: Sequence[str]) -> str:
    """A command with its prompt and all its output; what it says of its progress comes last."""
    _, out, err = await run(*words)
    return f"$ ditio-worker {' '.join(words)}\n{out}{err}"


def same(text: str, kept: Sequence[str]) -> str:
    """The text with ids and times that do not differ from run to run, each as long as it was. `kept` are times that stay."""
    ids: dict[str, str] = {}

    def an_id(found: re.Match[str]) -> str:
        return ids.setdefault(found[0], f"{len(ids) + 1:x}" + "3f2a9c51d0e74b8896a1c2d3e4f50617"[1 : len(found[0])])

    def a_time(found: re.Match[str]) -> str:
        return found[0] if found[0] in kept else f"2026-03-17T06:30:00{'.000000' if found[1] else ''}Z"

    text = DELIVERIES.sub("", TASK.sub(an_id, LETTER.sub(an_id, TIME.sub(a_time, text))))
    for given, stands in ids.items():
        text = text.replace(given[:8], stands[:8])
    return text


def in_page(page: Path) -> str:
    """The session that a page shows."""
    _, _, rest = page.read_text().partition(BEGIN)
    block, _, _ = rest.partition(END)
    return block.removeprefix("```\n").removesuffix("```\n")


def put_into(page: Path, session: str) -> None:
    """Makes a page show a session."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}```\n{session}```\n{END}{after}")
