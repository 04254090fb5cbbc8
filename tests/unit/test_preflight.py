"""Preflight: what depends on what is wrong is skipped, and the ledger is looked at without touching it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from worker import ledger
from worker.account import AccountError, Unseen
from worker.clock import WallClock
from worker.config import Settings, read
from worker.core.errors import WorkerError
from worker.preflight import Line, Part, _ledger, looked_at

API, COMPANY = "https://core-api.ditio.dev/core", "5f0000000000000000000001"


def settings(path: Path) -> Settings:
    """Settings of a worker with this ledger."""
    ditio = {"DITIO_IDENTITY_BASE": "https://identity.ditio.dev", "DITIO_CLIENT_ID": "c", "DITIO_CLIENT_SECRET": "s3cret"}
    return read({"DITIO_API_BASE": API, "DITIO_COMPANY_ID": COMPANY, **ditio, "LEDGER_URL": f"sqlite://{path}"})


def part(name: str, *, needs: str = "", error: WorkerError | None = None) -> Part:
    """A part that is right, or raises."""

    async def look() -> str:
        if error is not None:
            raise error
        return "fine"

    return Part(name, look, needs)


async def test_what_needs_something_wrong_is_skipped_and_all_else_is_looked_at() -> None:
    lines = await looked_at(
        (
            part("a", error=AccountError("mend a")),
            part("b", needs="a"),
            part("c", needs="b"),
            part("d"),
            part("e", error=Unseen("not visible")),
        )
    )
    assert lines == [
        Line("a", "FAILED", "mend a"),
        Line("b", "skipped", "not looked at: a must be right first"),
        Line("c", "skipped", "not looked at: b must be right first"),
        Line("d", "ok", "fine"),
        Line("e", "skipped", "not visible"),
    ]


async def test_a_ledger_that_is_not_there_yet_is_right_and_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "data" / "ledger.db"
    assert "not there yet" in await _ledger(settings(path))
    assert list(tmp_path.iterdir()) == []


async def test_a_ledger_that_could_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(WorkerError, match="is no folder; name another place in LEDGER_URL"):
        await _ledger(settings(tmp_path / "data" / "ledger.db"))


async def test_a_ledger_in_use_is_counted_beside_its_worker(tmp_path: Path) -> None:
    store = await ledger.open(tmp_path / "ledger.db", api_base=API, company_id=COMPANY, clock=WallClock())
    try:
        assert await _ledger(settings(tmp_path / "ledger.db")) == f"{tmp_path}/ledger.db: 0 work orders"
    finally:
        await store.close()


async def test_a_ledger_of_another_company_is_told(tmp_path: Path) -> None:
    await (await ledger.open(tmp_path / "ledger.db", api_base=API, company_id="another", clock=WallClock())).close()
    with pytest.raises(WorkerError, match="holds the records of company another"):
        await _ledger(settings(tmp_path / "ledger.db"))


async def test_a_ledger_of_an_older_version_is_right_and_stays_as_it_is(tmp_path: Path) -> None:
    # Given a file in which this version's migrations are still to be made
    path = tmp_path / "ledger.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, at REAL NOT NULL)")
    db.close()
    before = path.read_bytes()
    # Then
    assert "the worker brings it up to date" in await _ledger(settings(path))
    assert path.read_bytes() == before


async def test_a_ledger_of_a_newer_version_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    await (await ledger.open(path, api_base=API, company_id=COMPANY, clock=WallClock())).close()
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO migrations VALUES (999, '999_later', 0)")
    db.close()
    with pytest.raises(WorkerError, match="written by a newer ditio-worker"):
        await _ledger(settings(path))
