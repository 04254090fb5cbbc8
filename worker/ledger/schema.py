"""Numbered migrations, packaged with the code: which are known, and which are due."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib.resources import files

import msgspec

from worker.ledger.entries import LedgerRefused


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema: `001_work_orders.sql` is number 1."""

    number: int
    name: str
    sql: str


def migrations(dialect: str) -> Sequence[Migration]:
    """All steps that this version knows for a kind of database, in order."""
    folder = files("worker.ledger").joinpath("migrations", dialect)
    scripts = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return [
        Migration(int(script.name.partition("_")[0]), script.name.removesuffix(".sql"), script.read_text("utf-8"))
        for script in scripts
    ]


def pending(known: Sequence[Migration], applied: Collection[int], where: str) -> Sequence[Migration]:
    """The steps that are due. Raises LedgerRefused when the ledger has had steps that this version does not know."""
    foreign = set(applied) - {migration.number for migration in known}
    if foreign:
        raise LedgerRefused(
            f"{where} was written by a newer ditio-worker (its schema is {max(foreign)}, this version knows "
            f"{known[-1].number}): run that version or a newer one, or name another place in LEDGER_URL"
        )
    return [migration for migration in known if migration.number not in applied]
