"""From the text of a setting to its value. Every parser raises ValueError with a clause that follows "NAME: ".

No clause repeats the text of a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, unquote, urlsplit
from zoneinfo import ZoneInfo

from worker.core.field import FIELDS, REFERENCES
from worker.core.tables import TablesError
from worker.core.tables import parse as parse_tables

Choice = TypeVar("Choice", bound=str)

TRUE = frozenset({"true", "1", "yes", "on"})
FALSE = frozenset({"false", "0", "no", "off"})
AMQP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<name>[^:\[\]\s/]*)):(?P<port>[0-9]{1,5})")
RESERVED_LABELS = frozenset({"all", "unknown"})
LONGEST_WAIT_S = 30 * 86_400


@dataclass(frozen=True)
class Address:
    """Where to listen. An empty host is every interface; port 0 is any free one."""

    host: str
    port: int


@dataclass(frozen=True)
class SqliteUrl:
    """A ledger in a file."""

    path: Path

    @property
    def place(self) -> Path:
        """As worker.ledger opens it."""
        return self.path

    @property
    def shown(self) -> str:
        """As it is shown to people."""
        return str(self.path)


@dataclass(frozen=True)
class PostgresUrl:
    """A ledger in a PostgreSQL database, for any number of workers."""

    url: str = field(repr=False)

    @property
    def place(self) -> str:
        """As worker.ledger opens it."""
        return self.url

    @property
    def shown(self) -> str:
        """As it is shown to people, without user and password."""
        split = urlsplit(self.url)
        return f"PostgreSQL {unquote(split.path.strip('/'))} at {split.netloc.rpartition('@')[2]}"


@dataclass(frozen=True)
class Tables:
    """The file of units and statuses as it was read: its path and its TOML text."""

    path: Path
    text: str


@dataclass(frozen=True)
class Patterns:
    """Shell patterns (`*`, `?`, `[…]`), case exact; none at all match everything."""

    patterns: tuple[str, ...] = ()

    def match(self, text: str) -> bool:
        """Whether any of the patterns matches the whole text."""
        return not self.patterns or any(fnmatchcase(text, pattern) for pattern in self.patterns)


@dataclass(frozen=True)
class Sources:
    """Which event sources are handled, and the name that each has in metrics and logs."""

    pairs: tuple[tuple[str, str], ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The names in the order given; `all` alone when every source is handled."""
        return tuple(dict.fromkeys(name for name, _ in self.pairs)) or ("all",)

    def source_of(self, source: str) -> str | None:
        """The name of the first pattern that matches a CloudEvents `source`; None: it is not handled."""
        if not self.pairs:
            return "all"
        return next((name for name, pattern in self.pairs if fnmatchcase(source, pattern)), None)


def text(given: str) -> str:
    """Any text without outer blanks."""
    return given.strip()


def as_given(given: str) -> str:
    """A secret, exactly."""
    return given


def flag(given: str) -> bool:
    """true or false."""
    word = given.strip().lower()
    if word not in TRUE | FALSE:
        raise ValueError(f'expected true or false, got "{given}"')
    return word in TRUE


def choice(*allowed: Choice) -> Callable[[str], Choice]:
    """One of a few words."""

    def parse(given: str) -> Choice:
        for word in allowed:
            if word == given.strip():
                return word
        raise ValueError(f'expected {" or ".join(allowed)}, got "{given}"')

    return parse


def whole(low: int, high: int) -> Callable[[str], int]:
    """A whole number within bounds."""
    return lambda given: _bounded(int, "a whole number", low, high, given)


def number(low: float, high: float) -> Callable[[str], float]:
    """A number, with or without decimals, within bounds."""
    return lambda given: _bounded(float, "a number", low, high, given)


Number = TypeVar("Number", int, float)


def _bounded(kind: type[Number], what: str, low: Number, high: Number, given: str) -> Number:
    try:
        value = kind(given)
    except ValueError:
        value = kind(low - 1)
    if not low <= value <= high:
        raise ValueError(f'expected {what} from {low:,} to {high:,}, got "{given}"')
    return value


def listed(given: str) -> tuple[str, ...]:
    """Texts between commas; empty ones are refused, they are slips."""
    items = tuple(item.strip() for item in given.split(","))
    if not all(items):
        raise ValueError(f'there is nothing between two commas, or at an end, in "{given}"')
    return items


def wait_steps(given: str) -> tuple[int, ...]:
    """Seconds between commas, each longer than the one before: every step is a queue, named after its time."""
    steps = tuple(whole(1, LONGEST_WAIT_S)(item) for item in listed(given))
    if any(later <= earlier for earlier, later in pairwise(steps)):
        raise ValueError(f'each step must be longer than the one before, got "{given}"')
    return steps


def one_partition(given: str) -> int:
    """The number of partitions, of which more than one cannot be had yet."""
    if whole(1, 1000)(given) != 1:
        raise ValueError("more than one partition is not supported yet; leave it out, or set 1")
    return 1


def queue_prefix(given: str) -> str:
    """The beginning of exchange and queue names."""
    if not AMQP_NAME.fullmatch(given) or given.startswith("amq."):
        raise ValueError(f'expected up to 100 letters, digits and ". _ : -", not beginning with "amq.", got "{given}"')
    return given


def binding_keys(given: str) -> tuple[str, ...]:
    """Topic patterns between commas."""
    keys = listed(given)
    for key in keys:
        if len(key.encode()) > 255:
            raise ValueError(f'a binding key may have 255 bytes, "{key[:40]}…" has more')
    return keys


def patterns(given: str) -> Patterns:
    """Shell patterns between commas."""
    return Patterns(listed(given))


def sources(given: str) -> Sources:
    """`name=pattern` pairs between commas."""
    pairs = []
    for item in listed(given):
        name, equals, pattern = (part.strip() for part in item.partition("="))
        if not equals or not pattern or not LABEL.fullmatch(name):
            raise ValueError(f'expected name=pattern such as "visma=/erp/visma/*", got "{item}"')
        if name in RESERVED_LABELS:
            raise ValueError(f'"{name}" has a meaning of its own in the metrics; choose another name')
        pairs.append((name, pattern))
    return Sources(tuple(pairs))


def create_only_fields(given: str) -> frozenset[str]:
    """Field names of events between commas, as the Ditio fields that they set."""
    known = {**{name: name for name in FIELDS}, **REFERENCES}
    for name in (names := listed(given)):
        if name not in known:
            likely = get_close_matches(name, known, 1)
            hint = f'; did you mean "{likely[0]}"?' if likely else " of a task"
            raise ValueError(f'there is no field "{name}"{hint}')
    return frozenset(known[name] for name in names)


def zone(given: str) -> ZoneInfo:
    """A time zone of the IANA database."""
    try:
        return ZoneInfo(given.strip())
    except (OSError, ValueError, LookupError):
        raise ValueError(f'expected a time zone such as Europe/Oslo, got "{given}"') from None


def file(given: str) -> Path:
    """The path of a file that can be read."""
    _content(path := Path(given))
    return path


def tables(given: str) -> Tables:
    """A UTF-8 file with its text, which holds usable tables."""
    try:
        content = Tables(path := Path(given), _content(path).decode())
        parse_tables(content.text)
    except UnicodeDecodeError:
        raise ValueError(f"{given} is not UTF-8 text") from None
    except TablesError as error:
        raise ValueError(f"in {given}: {error}") from None
    return content


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {(error.strerror or 'not possible').lower()}") from None


def address(given: str) -> Address:
    """`host:port`, an IPv6 host in brackets."""
    match = ADDRESS.fullmatch(given.strip())
    if not match or int(match["port"]) > 65535:
        raise ValueError(f'expected host:port such as 127.0.0.1:9108 or [::1]:9108, got "{given}"')
    return Address(match["v6"] or match["name"], int(match["port"]))


def amqp_urls(given: str) -> tuple[str, ...]:
    """One or several addresses of the broker."""
    urls = tuple(url.strip() for url in given.split(","))
    for place, url in enumerate(urls, start=1):
        split = _split(url)
        which = f"address {place} " if len(urls) > 1 else ""
        if split.scheme not in ("amqp", "amqps"):
            raise ValueError(f"{which}must begin with amqp:// or amqps:// (a comma within a password is written %2C)")
        if not split.hostname or "/" in split.path[1:]:
            raise ValueError(f"{which}must be like amqp://user:password@host:5672/vhost (a / in a part is written %2F)")
    return urls


def http_base(given: str) -> str:
    """An https address (or an http one: whether that is allowed is for the rule) without a slash at the end."""
    split = _split(given.strip())
    if split.scheme not in ("https", "http") or not split.hostname:
        raise ValueError(f"expected an address that begins with https://, got {_unless_secret(given, split)}")
    if split.username is not None or split.query or split.fragment:
        raise ValueError("must have neither user, ? nor #")
    return given.strip().rstrip("/")


def proxy(given: str) -> str:
    """The address of a proxy; without a scheme it is http."""
    url = given.strip() if "://" in given else f"http://{given.strip()}"
    split = _split(url)
    if split.scheme not in ("http", "https") or not split.hostname:
        raise ValueError("expected an address such as http://proxy.example.com:3128")
    return url


def ledger(given: str) -> SqliteUrl | PostgresUrl:
    """A file for SQLite, where what follows `sqlite://` is a full path, or a database of PostgreSQL."""
    if given.strip().partition("://")[0] in ("postgresql", "postgres"):
        return PostgresUrl(_database(given.strip()))
    split = _split(given.strip())
    path = Path("/" + unquote(split.path).lstrip("/"))
    if split.scheme != "sqlite" or split.netloc or split.query or split.fragment:
        raise ValueError("expected sqlite:///full/path/ledger.db (three slashes) or postgresql://user:password@host/database")
    if path.name == ":memory:" or split.path.endswith("/") or path.is_dir():
        raise ValueError(f"{path} is no file; the ledger must outlive the worker: name a file in a folder that is kept")
    return SqliteUrl(path)


def _database(url: str) -> str:
    """An address of PostgreSQL's, which may name several hosts by commas."""
    try:
        split = urlsplit(url)
    except ValueError:
        raise ValueError("is no valid address: look at its brackets") from None
    if not split.netloc.rpartition("@")[2] or not split.path.strip("/"):
        raise ValueError("expected postgresql://user:password@host/database")
    if split.fragment:
        raise ValueError("holds a #: in a password it is written %23")
    return url


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its very name."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _split(url: str) -> SplitResult:
    try:
        split = urlsplit(url)
        _ = split.port  # reading it is what checks it
    except ValueError:
        raise ValueError("is no valid address: look at its port and brackets") from None
    return split


def _unless_secret(given: str, split: SplitResult) -> str:
    return "one with a password" if "@" in given or split.password else f'"{given}"'
