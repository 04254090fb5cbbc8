"""What can go wrong, as one tree.

WorkerError
├── BadEvent                    the event itself is at fault: a dead letter at once
│   ├── Invalid                 a rule of the event contract is broken (names the field)
│   │   └── TooFarAhead         its time is in the future, by this machine's clock
│   └── UnsupportedType         a CloudEvents type that the worker does not handle
├── Unresolved                  something that the event names cannot be turned into a Ditio id
│   ├── Absent                  not there (yet): worth waiting for
│   ├── Elsewhere               there, but in another project: a dead letter at once
│   ├── NotInTable              a unit or status that WORKER_TABLES_FILE lacks: a dead letter at once
│   └── Ambiguous               more than one match: a dead letter at once
├── ApiError                    a call to Ditio did not succeed
│   ├── NotSent                 it certainly never reached Ditio
│   ├── UnknownOutcome          it may have taken effect, now or later
│   ├── Refused                 Ditio said no, for good
│   └── Missing                 404, which Ditio also says of what is not ours
├── Abandoned                   the worker stops or gives events back: what is not done stays with the broker
├── Outage                      nothing is wrong with the event: stop consuming, give back, probe
├── LedgerError                 the ledger could not read or commit: no acknowledgement
└── BrokerError                 a publish was not confirmed or a connection is gone: no acknowledgement
"""

from __future__ import annotations

from typing import Literal, TypeAlias

PauseCause: TypeAlias = Literal["manual", "credentials", "circuit", "ledger", "broker", "clock", "mass-change", "environment"]
"""Why consumption pauses, closed."""


class WorkerError(Exception):
    """The root of every error that the worker raises itself."""


class BadEvent(WorkerError):
    """The event itself is at fault; waiting or trying again cannot help.

    `field` is a path such as `data.name` (empty: the whole message), `detail` a sentence for a person.
    """

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}" if field else detail)
        self.field = field
        self.detail = detail


class Invalid(BadEvent):
    """The message breaks a rule of the event contract."""


class TooFarAhead(Invalid):
    """The event's time lies further ahead than it may, which can also be the fault of the clock that it was compared with."""


class UnsupportedType(BadEvent):
    """A well-formed CloudEvent of a type that the worker does not handle."""


class Unresolved(WorkerError):
    """A reference of an event cannot be turned into a Ditio id. `kind` is `project`, `parent`, `person`, `unit`, `status`."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class Absent(Unresolved):
    """What is named is not there (yet)."""


class Elsewhere(Unresolved):
    """What is named is there, but where this event cannot refer to it."""


class NotInTable(Unresolved):
    """A unit or status that the configured tables do not know."""


class Ambiguous(Unresolved):
    """More than one match; the detail names them."""


class ApiError(WorkerError):
    """A call to Ditio did not succeed.

    `attempts` counts the requests made, `lingering` says that one of them was given up and may still take effect, `spared` that
    it is not to be held against its event: others are refused too, and whose fault it is has yet to be seen.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int | None = None,
        response: str = "",
        attempts: int = 1,
        lingering: bool = False,
        spared: bool = False,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.response = response
        self.attempts = attempts
        self.lingering = lingering
        self.spared = spared


class NotSent(ApiError):
    """The request certainly did not reach Ditio (no connection, or turned away before it was looked at)."""


class UnknownOutcome(ApiError):
    """Timeout, dropped connection or 5xx: the request may have taken effect, or may do so later."""


class Refused(ApiError):
    """A definite refusal: 400, 409, 413, 422 or another 4xx that is not one of the others."""


class Missing(ApiError):
    """404. Missing and not-yours look the same at Ditio."""


class Abandoned(WorkerError):
    """The worker was told to stop, or gives events back: this will not be done, and the event stays with the broker.

    `lingering` says that a request was given up before and may still take effect.
    """

    def __init__(self, detail: str = "the worker stops", *, lingering: bool = False) -> None:
        super().__init__(detail)
        self.lingering = lingering


class Outage(WorkerError):
    """Not the event's fault: the API, the credentials or the worker's own means are out of order.

    `cause` says why consumption must pause.
    """

    def __init__(self, cause: PauseCause, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail


class LedgerError(WorkerError):
    """The ledger could not read or commit."""


class BrokerError(WorkerError):
    """A publish was refused, unroutable or unconfirmed, or the connection is gone."""
