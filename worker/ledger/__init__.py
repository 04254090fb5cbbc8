"""The ledger: what Ditio has confirmed, which requests are in doubt, what was first seen when, and what happened.

Whoever opens one gets the same methods, whatever it is kept in.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from worker.ledger import postgres, sqlite
from worker.ledger.store import Binding, LedgerRefused, Pause, Reader, Store, binding_of
from worker.ports import Clock

__all__ = ["Binding", "LedgerRefused", "Pause", "Reader", "Store", "is_shared", "open", "open_beside", "open_read_only"]


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


def is_shared(url: str | Path) -> bool:
    """Whether several workers may use this ledger at once."""
    return isinstance(url, str) and urlsplit(url).scheme in ("postgresql", "postgres")


def _path(url: str | Path) -> Path:
    if isinstance(url, Path):
        return url
    split = urlsplit(url)
    if split.scheme != "sqlite" or split.netloc or not split.path.strip("/"):
        raise LedgerRefused("LEDGER_URL: expected sqlite:///full/path/ledger.db (three slashes) or postgresql://…")
    return Path(unquote(split.path))
