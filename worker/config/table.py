"""All settings as one table, from which they are read, shown and documented."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

from worker.config import parsers as parse
from worker.config.masking import MASK, masked, passwords

Group: TypeAlias = Literal["broker", "queues", "events", "ditio", "ledger", "work", "serving"]

PREFIXES = ("AMQP_", "DITIO_", "LEDGER_", "WORKER_")
"""Environment variables that begin like this are taken for settings, and slips in them are reported."""

EVERYTHING: frozenset[Group] = frozenset(get_args(Group))

NEEDS: Mapping[str, frozenset[Group]] = MappingProxyType(
    {
        "run": EVERYTHING,
        "check": EVERYTHING,
        "config": EVERYTHING,
        "publish": frozenset({"broker", "queues", "events"}),
        "validate": frozenset({"events"}),
        "plan": frozenset({"events", "ditio", "ledger", "work", "queues"}),
        "status": frozenset({"broker", "queues", "ledger", "serving"}),
        "pause": frozenset({"ledger"}),
        "resume": frozenset({"ledger"}),
        "waiting": frozenset({"broker", "queues", "ledger"}),
        "dead list": frozenset({"broker", "queues", "events", "ledger"}),
        "dead show": frozenset({"broker", "queues", "events", "ledger", "ditio"}),
        "dead plan": frozenset({"broker", "queues", "events", "ledger", "ditio", "work"}),
        "dead replay": frozenset({"broker", "queues", "events", "ledger"}),
        "dead discard": frozenset({"broker", "queues", "events", "ledger"}),
        "dead export": frozenset({"broker", "queues"}),
        "dead import": frozenset({"broker", "queues", "events"}),
        "trace": frozenset({"broker", "queues", "events", "ledger", "ditio"}),
        "topology": frozenset({"queues"}),
        "tasks": frozenset({"ditio"}),
        "schema": frozenset(),
        "sandbox": frozenset(),
        "demo": frozenset(),
    }
)
"""The settings that each command reads; the others may be missing or wrong."""


@dataclass(frozen=True)
class Setting:
    """One environment variable.

    `default` is text as it would be given (None: it is simply not there), `parse` raises ValueError with a clause.
    A secret may also come from a file named by NAME_FILE, and is never shown.
    """

    name: str
    default: str | None
    parse: Callable[[str], object]
    group: Group
    meaning: str
    required: bool = False
    secret: bool = False
    example: str = ""

    @property
    def attribute(self) -> str:
        """Its name in `Settings`."""
        return self.name.lower()

    def shown(self, text: str) -> str:
        """A value of it as it may be shown: of a secret address all but the password, of other secrets nothing."""
        if not self.secret:
            return text
        return MASK if self.parse is parse.as_given else masked(text)

    def hidden(self, text: str) -> tuple[str, ...]:
        """What of a secret must not appear anywhere."""
        return (text,) if self.parse is parse.as_given else passwords(text)

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands that read it."""
        return tuple(command for command, groups in NEEDS.items() if self.group in groups)


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "AMQP_URL",
        "amqp://guest:guest@127.0.0.1:5672/%2F",
        parse.amqp_urls,
        "broker",
        "The broker; amqps:// for TLS; several addresses, separated by commas, are tried in turn.",
        secret=True,
    ),
    Setting(
        "AMQP_CA_FILE",
        None,
        parse.file,
        "broker",
        "The certificate authorities that the broker's certificate is checked against (PEM).",
    ),
    Setting(
        "AMQP_CERT_FILE",
        None,
        parse.file,
        "broker",
        "The worker's own certificate for the broker (PEM); together with AMQP_KEY_FILE.",
    ),
    Setting("AMQP_KEY_FILE", None, parse.file, "broker", "The key of AMQP_CERT_FILE (PEM)."),
    Setting(
        "DITIO_API_BASE",
        None,
        parse.http_base,
        "ditio",
        "Ditio's API, with the path /core where the host has it; https, but for loopback hosts and DITIO_ALLOW_HTTP.",
        required=True,
        example="https://core-api.ditio.dev/core",
    ),
    Setting(
        "DITIO_IDENTITY_BASE",
        None,
        parse.http_base,
        "ditio",
        "Where tokens come from; of the same environment as DITIO_API_BASE.",
        required=True,
        example="https://identity.ditio.dev",
    ),
    Setting(
        "DITIO_ALLOW_HTTP",
        "false",
        parse.flag,
        "ditio",
        "Allow plain http to hosts that are not loopback; tokens then travel readable.",
    ),
    Setting(
        "DITIO_CA_FILE",
        None,
        parse.file,
        "ditio",
        "The certificate authorities that Ditio's certificates are checked against (PEM).",
    ),
    Setting(
        "DITIO_CLIENT_ID",
        None,
        parse.text,
        "ditio",
        "The client that Ditio registered for the integration.",
        required=True,
    ),
    Setting("DITIO_CLIENT_SECRET", None, parse.as_given, "ditio", "That client's secret.", required=True, secret=True),
    Setting(
        "DITIO_COMPANY_ID",
        None,
        parse.text,
        "ditio",
        "Ditio's id of the company whose work orders these are.",
        required=True,
    ),
    Setting("DITIO_SCOPE", "ditioapiv3", parse.text, "ditio", "The scope that tokens are asked for."),
    Setting(
        "DITIO_PERSON_ID",
        "identityId",
        parse.choice("identityId", "companyProfileId"),
        "ditio",
        "Which of a person's ids a foreman or task leader takes: identityId or companyProfileId.",
    ),
    Setting(
        "DITIO_CLIENT_IDS",
        "false",
        parse.flag,
        "ditio",
        "Send ids derived from company, project and externalId with each creation.",
    ),
    Setting("DITIO_TIMEOUT_S", "10", parse.number(0.1, 120), "ditio", "How long one request may take, in seconds."),
    Setting(
        "DITIO_SETTLE_S",
        "30",
        parse.number(0, 3600),
        "ditio",
        "How long a request that was given up may still take effect, in seconds.",
    ),
    Setting(
        "DITIO_MAX_REQUESTS_PER_S",
        None,
        parse.number(0.1, 100_000),
        "ditio",
        "The most requests per second, over all replicas; none: no limit.",
    ),
    Setting("HTTPS_PROXY", None, parse.proxy, "ditio", "The proxy for https requests to Ditio.", secret=True),
    Setting("NO_PROXY", None, parse.listed, "ditio", "Hosts that are reached without the proxy, separated by commas."),
    Setting(
        "LEDGER_URL",
        "sqlite:///",
        parse.ledger,
        "ledger",
        "The store of records: sqlite:///full/path/ledger.db (alone sqlite:/// is a file in the user's data folder),"
        " or for any number of workers postgresql://user:password@host/database.",
        secret=True,
    ),
    Setting(
        "WORKER_QUEUE_PREFIX",
        "workorders",
        parse.queue_prefix,
        "queues",
        "The name of the exchange and the beginning of each queue's name.",
    ),
    Setting(
        "WORKER_BINDING_KEYS",
        "#",
        parse.binding_keys,
        "queues",
        "The routing keys that are taken from the exchange, separated by commas.",
    ),
    Setting("WORKER_DECLARE", "true", parse.flag, "queues", "Create what is missing at the broker; false: only check it."),
    Setting(
        "WORKER_WAIT_STEPS_S",
        "10,60,600,3600",
        parse.wait_steps,
        "queues",
        "How long a waiting event waits before each new try, in seconds, growing; each step is a queue.",
    ),
    Setting(
        "WORKER_WAIT_MAX_S",
        "604800",
        parse.whole(0, 366 * 86_400),
        "work",
        "How long an event waits in all, in seconds, before it is a dead letter.",
    ),
    Setting(
        "WORKER_PARTITIONS",
        "1",
        parse.one_partition,
        "queues",
        "The number of event queues; more than one is not supported yet.",
    ),
    Setting(
        "WORKER_SOURCES",
        None,
        parse.sources,
        "events",
        "The sources that are handled, name=pattern, separated by commas; the name is the label source; none: all.",
        example="visma=/erp/visma/*,sap=/erp/sap/*",
    ),
    Setting(
        "WORKER_PROJECTS",
        None,
        parse.patterns,
        "work",
        "The project numbers that are handled, as patterns separated by commas; others are ignored; none: all.",
        example="P-2026-*",
    ),
    Setting(
        "WORKER_HTTP_ADDRESS",
        "127.0.0.1:9108",
        parse.address,
        "serving",
        "Where /metrics, /livez and /readyz are served; IPv6 in brackets; no host: every interface; port 0: any.",
    ),
    Setting(
        "WORKER_MAX_IN_FLIGHT",
        "64",
        parse.whole(1, 10_000),
        "work",
        "The most events that are worked on at once; the concurrency adapts below it.",
    ),
    Setting(
        "WORKER_PREFETCH",
        "512",
        parse.whole(1, 65_535),
        "work",
        "The most events that are taken from the broker and not yet acknowledged.",
    ),
    Setting(
        "WORKER_MAX_MESSAGE_BYTES",
        "1048576",
        parse.whole(1, 128 * 1_048_576),
        "events",
        "Larger bodies are dead letters.",
    ),
    Setting(
        "WORKER_ORDER_BY",
        "time",
        parse.choice("time", "sequence"),
        "events",
        "What events of a work order are ordered by first: time or sequence.",
    ),
    Setting(
        "WORKER_MAX_SKEW_S",
        "600",
        parse.whole(0, 366 * 86_400),
        "events",
        "How far ahead an event's time may be, in seconds, before the event is invalid.",
    ),
    Setting("WORKER_DATE_ZONE", "Europe/Oslo", parse.zone, "events", "The time zone whose midnights are days."),
    Setting(
        "WORKER_UNKNOWN_FIELDS",
        "error",
        parse.choice("error", "ignore"),
        "events",
        "What an unknown field in data is: error, or ignore.",
    ),
    Setting("WORKER_TABLES_FILE", None, parse.tables, "events", "A TOML file with the tables of units and statuses."),
    Setting(
        "WORKER_CREATE_ACTIVE",
        "true",
        parse.flag,
        "work",
        "A task that the worker creates is active unless the event says otherwise.",
    ),
    Setting(
        "WORKER_CREATE_ONLY_FIELDS",
        None,
        parse.create_only_fields,
        "work",
        "Fields, separated by commas, that are set or cleared at creation and left to Ditio's planners afterwards.",
        example="name,mainForeman",
    ),
    Setting(
        "WORKER_ON_DELETE",
        "deactivate",
        parse.choice("deactivate", "delete"),
        "work",
        "What workorder.deleted.v1 does in Ditio: deactivate or delete.",
    ),
    Setting(
        "WORKER_MARK_PARENTS",
        "true",
        parse.flag,
        "work",
        "Set isParent of a task while another names it as its parent.",
    ),
    Setting("WORKER_RESEND", "false", parse.flag, "work", "Send values also when Ditio has confirmed them before."),
    Setting(
        "WORKER_MAX_DEACTIVATIONS_PER_H",
        "1000",
        parse.whole(0, 1_000_000_000),
        "work",
        "More deactivations, deletions or clears in an hour pause the worker; 0: no guard.",
    ),
    Setting(
        "WORKER_DRAIN_S",
        "25",
        parse.number(0, 3600),
        "work",
        "How long the worker may finish what it began when it is told to stop, in seconds.",
    ),
    Setting("WORKER_HISTORY_DAYS", "30", parse.whole(1, 3660), "ledger", "How long the history of events is kept, in days."),
    Setting("WORKER_LOG_FORMAT", "json", parse.choice("json", "console"), "serving", "How log lines look: json or console."),
    Setting(
        "WORKER_LOG_LEVEL",
        "info",
        parse.choice("debug", "info", "warning", "error"),
        "serving",
        "The least important lines that are logged.",
    ),
)
"""In the order in which they are shown."""
