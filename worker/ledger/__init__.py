"""The ledger: what Ditio has confirmed, which requests are in doubt, what was first seen when, and what happened.

Whoever opens one gets the same methods, whatever it is kept in.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from worker.ledger import postgres, sqlite, sqlite_file
from worker.ledger.entries import (
    Aside,
    Binding,
    Counted,
    Ended,
    Indexed,
    LedgerRefused,
    NoLedger,
    Pause,
    Replaying,
    Run,
    SchemaBehind,
    State,
    Unsettled,
    binding_of,
    bound,
)
from worker.ledger.store import Reader, Store
from worker.ports import Clock

__all__ = [
    "Aside",
    "Binding",
    "Counted",
    "Ended",
    "Indexed",
    "LedgerRefused",
    "NoLedger",
    "Pause",
    "Reader",
    "Replaying",
    "Run",
    "SchemaBehind",
    "State",
    "Store",
    "Unsettled",
    "holder",
    "is_shared",
    "open",
    "open_beside",
    "open_known",
    "open_read_only",
    "prove_shared",
]


async def open(
    url: str | Path,
    *,
    api_base: str,
    company_id: str,
    clock: Clock,
    observe_commit: Callable[[float], None] = lambda seconds: None,
) -> Store:
    """Opens a ledger for a worker: creates or migrates it, and binds it to this Ditio at first use.

    `url` is `sqlite:///full/path`, a path, or `postgresql://…`. `observe_commit` is told the seconds of every commit, in the event loop.
    Raises LedgerRefused when it belongs to another Ditio, a newer version or (a file) a running worker, or cannot be created;
    LedgerError when a server cannot be reached.
    """
    if is_shared(url):
        return await postgres.open_worker(str(url), binding_of(api_base, company_id), clock, observe_commit)
    return await sqlite.open_worker(_path(url), binding_of(api_base, company_id), clock, observe_commit)


async def open_beside(url: str | Path, *, clock: Clock) -> Store:
    """Opens a ledger for an operator's command that also writes, while a worker may be using it.

    Raises LedgerRefused when there is none, or its schema is not this version's.
    """
    if is_shared(url):
        return await postgres.open_beside(str(url), clock)
    return await sqlite.open_beside(_path(url), clock)


async def open_read_only(url: str | Path, *, clock: Clock) -> Reader:
    """Opens a ledger for an operator's command that only reads, while a worker may be using it.

    Raises LedgerRefused when there is none, or its schema is not this version's.
    """
    if is_shared(url):
        return await postgres.open_read_only(str(url), clock)
    return await sqlite.open_read_only(_path(url), clock)


async def open_known(url: str | Path, *, api_base: str, company_id: str, clock: Clock) -> Reader | None:
    """Opens, for reading only, what a worker for this Ditio would begin with, while one may be using it; None: there is no ledger yet.

    Raises LedgerRefused when it belongs to another Ditio or a newer version, and SchemaBehind when it is an older one's.
    """
    try:
        reader = await open_read_only(url, clock=clock)
    except NoLedger:
        return None
    try:
        bound(
            await reader.binding(), binding_of(api_base, company_id), "this ledger" if is_shared(url) else f"ledger {_path(url)}"
        )
    except BaseException:
        await reader.close()
        raise
    return reader


def is_shared(url: str | Path) -> bool:
    """Whether several workers may use this ledger at once."""
    return isinstance(url, str) and urlsplit(url).scheme in ("postgresql", "postgres")


async def prove_shared(url: str) -> None:
    """Raises LedgerRefused where a server, or what sits before it, cannot serve several workers; LedgerError when it cannot be reached."""
    await postgres.prove(url)


def holder(url: str | Path) -> tuple[int, str] | None:
    """The process and the host of the last worker on a ledger in a file, which may have ended since; None when there was none."""
    return None if is_shared(url) else sqlite_file.holder(_path(url).resolve())


def _path(url: str | Path) -> Path:
    if isinstance(url, Path):
        return url
    split = urlsplit(url)
    if split.scheme != "sqlite" or split.netloc or not split.path.strip("/"):
        raise LedgerRefused("LEDGER_URL: expected sqlite:///full/path/ledger.db (three slashes) or postgresql://…")
    return Path(unquote(split.path))
