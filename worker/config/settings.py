"""The settings of one run, read once and frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Generic, Literal, TypeVar
from zoneinfo import ZoneInfo

from worker.config.masking import MASK
from worker.config.parsers import Address, Patterns, PostgresUrl, Sources, SqliteUrl, Tables

Value = TypeVar("Value")


class Secret(Generic[Value]):
    """A value that is not shown. Calling it gives it; one that came from a file is read from there again.

    When the file cannot be read at that moment, or holds nothing that makes sense, the value known last is given:
    a file that is being replaced must not stop the worker.
    """

    def __init__(
        self,
        value: Value,
        hidden: tuple[str, ...],
        again: Callable[[], tuple[Value, tuple[str, ...]]] | None = None,
    ) -> None:
        self._value = value
        self._hidden = hidden
        self._again = again

    def __call__(self) -> Value:
        """The value, as fresh as its file."""
        if self._again:
            with suppress(ValueError):
                self._value, self._hidden = self._again()
        return self._value

    def hidden(self) -> tuple[str, ...]:
        """The texts that must not appear anywhere, of the value as it was known last."""
        return self._hidden

    def __repr__(self) -> str:
        return f"Secret({MASK})"


@dataclass(frozen=True, repr=False)
class Settings:
    """What the environment says, one attribute for each variable, with its name in small letters. Times are in seconds.

    Only what a command needs was read; asking for another attribute raises AttributeError. `None` and empty sequences
    stand for what the environment leaves out. `warnings` are sentences about variables that look like slips.
    """

    amqp_url: Secret[tuple[str, ...]]
    amqp_ca_file: Path | None
    amqp_cert_file: Path | None
    amqp_key_file: Path | None
    ditio_api_base: str
    ditio_identity_base: str
    ditio_allow_http: bool
    ditio_ca_file: Path | None
    ditio_client_id: str
    ditio_client_secret: Secret[str]
    ditio_company_id: str
    ditio_scope: str
    ditio_person_id: Literal["identityId", "companyProfileId"]
    ditio_client_ids: bool
    ditio_timeout_s: float
    ditio_settle_s: float
    ditio_max_requests_per_s: float | None
    https_proxy: Secret[str] | None
    no_proxy: tuple[str, ...] | None
    ledger_url: Secret[SqliteUrl | PostgresUrl]
    worker_queue_prefix: str
    worker_binding_keys: tuple[str, ...]
    worker_declare: bool
    worker_wait_steps_s: tuple[int, ...]
    worker_wait_max_s: int
    worker_partitions: int
    worker_sources: Sources
    worker_projects: Patterns
    worker_http_address: Address
    worker_max_in_flight: int
    worker_prefetch: int
    worker_max_message_bytes: int
    worker_order_by: Literal["time", "sequence"]
    worker_max_skew_s: int
    worker_date_zone: ZoneInfo
    worker_unknown_fields: Literal["error", "ignore"]
    worker_tables_file: Tables | None
    worker_create_active: bool
    worker_create_only_fields: frozenset[str]
    worker_on_delete: Literal["deactivate", "delete"]
    worker_mark_parents: bool
    worker_resend: bool
    worker_max_deactivations_per_h: int
    worker_drain_s: float
    worker_history_days: int
    worker_log_format: Literal["json", "console"]
    worker_log_level: Literal["debug", "info", "warning", "error"]
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Settings:
        """Settings with these attributes and no others."""
        settings = object.__new__(cls)
        for name, value in values.items():
            object.__setattr__(settings, name, value)
        return settings

    def __getattr__(self, name: str) -> object:
        if name in {field.name for field in fields(type(self))}:
            raise AttributeError(f"the setting {name.upper()} was not read: the command did not say that it needs it")
        raise AttributeError(name)

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def hidden(self) -> tuple[str, ...]:
        """Every text that must not appear anywhere: secrets, and the passwords of addresses."""
        secrets = [value for value in vars(self).values() if isinstance(value, Secret)]
        return tuple(text for secret in secrets for text in secret.hidden())
