"""From settings to what each part of the worker is given: plain values, so that no part knows the settings."""

from __future__ import annotations

import time

from worker import __version__, api, rabbit
from worker.calls import Guard
from worker.config import Settings
from worker.core.client_id import client_id
from worker.core.decode import Rules
from worker.core.doubt import Window
from worker.core.plan import Policy
from worker.core.tables import Tables, parse
from worker.handling import Handling, Queues
from worker.ledger import Reader
from worker.ports import Clock, Ditio, Key, Ledger
from worker.reconcile import Reconciler
from worker.rehearsal import Rehearsal
from worker.resolve import Lookups, Observe
from worker.topology import Topology

AT_ONCE = Window(0, 0)
"""A doubt that is over when it begins: for what sends nothing that could still arrive."""


def topology_of(settings: Settings) -> Topology:
    """What the settings ask of the broker."""
    return Topology(settings.worker_queue_prefix, settings.worker_binding_keys, settings.worker_wait_steps_s)


def broker_access(settings: Settings) -> rabbit.Access:
    """Where the broker is, by the settings."""
    files = (settings.amqp_ca_file, settings.amqp_cert_file, settings.amqp_key_file)
    ca_file, cert_file, key_file = (str(each) if each else None for each in files)
    return rabbit.Access(settings.amqp_url, ca_file, cert_file, key_file)


def api_access(settings: Settings, max_in_flight: int = 1) -> api.Access:
    """Where Ditio is, by the settings. `max_in_flight` bounds the requests at once: a command makes one after the other."""
    return api.Access(
        settings.ditio_api_base,
        settings.ditio_identity_base,
        settings.ditio_client_id,
        settings.ditio_client_secret,
        settings.ditio_company_id,
        settings.ditio_scope,
        settings.ditio_timeout_s,
        settings.ditio_max_requests_per_s,
        str(settings.ditio_ca_file) if settings.ditio_ca_file else None,
        settings.https_proxy() if settings.https_proxy else None,
        settings.no_proxy or (),
        max_in_flight,
    )


def rules_of(settings: Settings) -> Rules:
    """How events are decoded, by the settings. Raises TablesError."""
    file = settings.worker_tables_file
    return Rules(
        now=time.time(),
        max_skew_s=settings.worker_max_skew_s,
        max_bytes=settings.worker_max_message_bytes,
        order_by=settings.worker_order_by,
        unknown_fields=settings.worker_unknown_fields,
        date_zone=settings.worker_date_zone.key,
        tables=parse(file.text) if file else Tables(),
    )


def handling_of(settings: Settings, topology: Topology) -> Handling:
    """How events are handled, by the settings."""
    return Handling(
        rules_of(settings),
        Queues(dict(topology.waits), topology.dead),
        __version__,
        settings.worker_sources.source_of,
        settings.worker_projects.match,
        settings.worker_wait_max_s,
        settings.worker_max_in_flight,
    )


def policy_of(settings: Settings) -> Policy:
    """What planning depends on, by the settings."""
    return Policy(
        settings.worker_on_delete,
        settings.worker_create_active,
        settings.worker_create_only_fields,
        settings.worker_mark_parents,
    )


def reconciling(
    settings: Settings,
    ledger: Ledger,
    ditio: Ditio,
    clock: Clock,
    observe: Observe,
    window: Window,
    guard: Guard | None = None,
) -> tuple[Lookups, Reconciler]:
    """The parts that bring work orders to where their events say, by the settings."""

    async def known(key: Key) -> str | None:
        return (await ledger.load(key)).task_id

    def derived(key: Key) -> str:
        return client_id(settings.ditio_company_id, key.project_id, key.external_id)

    lookups = Lookups(
        ditio,
        known,
        company_id=settings.ditio_company_id,
        person_id=settings.ditio_person_id,
        absent_s=min(settings.worker_wait_steps_s) / 2,
        now=clock.monotonic,
        observe=observe,
    )
    reconciler = Reconciler(
        ledger,
        ditio,
        lookups,
        clock,
        policy=policy_of(settings),
        window=window,
        resend=settings.worker_resend,
        derive=derived if settings.ditio_client_ids else None,
        guard=guard,
    )
    return lookups, reconciler


def rehearsal_of(settings: Settings, ditio: Ditio, known: Reader | None, clock: Clock) -> Rehearsal:
    """What the worker of these settings would do. `known` is its ledger, if there is one yet."""
    return Rehearsal(
        handling_of(settings, topology_of(settings)),
        ditio,
        known,
        clock,
        lambda ledger, snapshot: reconciling(settings, ledger, snapshot, clock, lambda kind, result: None, AT_ONCE),
    )
