"""The file under a SQLite ledger: its folder, its rights, the lock of its worker, and what its errors mean."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

from worker.core.errors import LedgerError
from worker.ledger.entries import LedgerRefused

Access: TypeAlias = Literal["worker", "beside", "read-only"]

HELD_BY = re.compile(r"process (\d+) on (.+)")
"""What the lock's file says."""

BUSY_S = 5.0
"""How long another process may hold the write lock (an operator's command: milliseconds)."""

CACHE_KIB = 16_384

SENTENCES: Mapping[int, str] = MappingProxyType(
    {
        sqlite3.SQLITE_FULL: "the disk is full",
        sqlite3.SQLITE_IOERR: "the disk does not read or write",
        sqlite3.SQLITE_BUSY: f"another process has held its write lock for over {BUSY_S:.0f} s",
        sqlite3.SQLITE_READONLY: "it is open for reading only, or its file or folder may not be written",
        sqlite3.SQLITE_CANTOPEN: "its file cannot be opened",
        sqlite3.SQLITE_CORRUPT: "its file is damaged; stop the worker, put the file aside, and start with a backup or "
        "without a file (no event is lost by that)",
        sqlite3.SQLITE_NOTADB: "its file is damaged or no ledger; name another file in LEDGER_URL, or put this one aside",
    }
)
"""SQLite's primary result codes, as sentences."""

UNUSABLE = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def explained(path: Path, error: Exception) -> LedgerError:
    """The error that callers get for one of SQLite's."""
    sentence = SENTENCES.get(_code(error))
    said = str(error) or type(error).__name__
    return LedgerError(f"ledger {path}: {sentence} ({said})" if sentence else f"ledger {path}: {said}")


def refused(path: Path, error: sqlite3.Error) -> LedgerError:
    """The error for one that occurred at opening: what time does not heal is refused."""
    said = explained(path, error)
    return LedgerRefused(str(said)) if _code(error) in UNUSABLE else said


def connect(path: Path, access: Access) -> sqlite3.Connection:
    """A connection that may only be used in the calling thread. A worker's is WAL and syncs at every commit."""
    mode = "ro" if access == "read-only" else "rw"
    connection = sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=BUSY_S)
    try:
        if access != "read-only":
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def create(path: Path) -> None:
    """Makes the file and the folders that are missing, for their owner alone. Raises LedgerRefused."""
    try:
        for folder in reversed([folder for folder in path.parents if not folder.exists()]):
            folder.mkdir(mode=0o700, exist_ok=True)
        # Never opened when it exists: closing any descriptor of the file would drop the locks that SQLite holds on it
        # in this process.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError as error:
        if not path.is_file():
            raise LedgerRefused(f"the ledger {path} cannot be created: {error.filename or path} is no folder") from error
    except OSError as error:
        raise LedgerRefused(f"the ledger {path} cannot be created: {error.filename}: {error.strerror}") from error


def lock(path: Path) -> int:
    """Takes the right to be the file's worker, and returns the descriptor that holds it until it is closed.

    The kernel lets go of it however the process ends. Raises LedgerRefused naming the process that has it.
    """
    sidecar = _sidecar(path)
    try:
        # Kept when the worker ends: between removing and locking, two workers could hold two files of one name.
        held = os.open(sidecar, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise LedgerRefused(f"the ledger's lock {sidecar} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(held, 0)
        os.pwrite(held, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
    except BlockingIOError:
        holder = os.pread(held, 1000, 0).decode("utf-8", "replace") or "another process"
        os.close(held)
        raise LedgerRefused(
            f"the ledger {path} is used by another worker, {holder}: stop that one first, or name another file in LEDGER_URL"
        ) from None
    except OSError as error:
        os.close(held)
        raise LedgerRefused(f"the ledger's lock {sidecar} cannot be taken: {error.strerror}") from error
    return held


def holder(path: Path) -> tuple[int, str] | None:
    """The process and the host of the file's last worker, which may have ended since. The lock is not tried: that would hold it."""
    try:
        said = HELD_BY.fullmatch(_sidecar(path).read_text())
    except (OSError, UnicodeDecodeError):
        return None
    return (int(said[1]), said[2]) if said else None


def mark_file(path: Path) -> Path:
    """The file beside a ledger that says how far it has come. A backup of the ledger alone does not take it along."""
    return path.with_name(path.name + ".mark")


def read_mark(path: Path) -> int | None:
    """How far the ledger of this name had come, if that is known."""
    try:
        return int(mark_file(path).read_text())
    except (OSError, ValueError):
        return None


def write_mark(marks: Path, mark: int) -> None:
    """Notes how far a ledger has come; always the same length, so that it is never half written. Raises LedgerError."""
    try:
        held = os.open(marks, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(held, f"{mark:019d}\n".encode(), 0)
        finally:
            os.close(held)
    except OSError as error:
        raise LedgerError(f"{marks} cannot be written: {error.strerror}") from error


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _code(error: Exception) -> int:
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF if isinstance(code, int) else 0
