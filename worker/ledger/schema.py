"""Numbered migrations, packaged with the code: which are known, and which are due.

A step whose name begins with `add_` only adds what a version that does not know it may leave out: tables, indexes, columns that may be
empty or have a default. Such a version goes on beside the newer one, and may start. After any other step it refuses to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files

import msgspec

from worker.ledger.entries import LedgerRefused

ADDS = "add_"


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


def pending(known: Sequence[Migration], applied: Mapping[int, str], where: str) -> Sequence[Migration]:
    """The steps that are due; `applied` are the numbers and names of those that were done.

    Raises LedgerRefused when the ledger has had steps that this version does not know and cannot live with.
    """
    numbers = {migration.number for migration in known}
    foreign = [
        number for number, name in applied.items() if number not in numbers and not name.partition("_")[2].startswith(ADDS)
    ]
    if foreign:
        raise LedgerRefused(
            f"{where} was written by a newer ditio-worker (its schema is {max(foreign)}, this version knows "
            f"{known[-1].number}): run that version or a newer one, or name another place in LEDGER_URL"
        )
    return [migration for migration in known if migration.number not in applied]
