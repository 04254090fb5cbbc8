"""The parts of a worker that decide and act, put together by the settings: the same ones in a process and on a simulated clock.

Where they stand (clock, ledger, client, broker) is handed in; connections, pages and signals are worker.service's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from worker.api import Client, Patience
from worker.breaker import Breaker
from worker.causes import Probe
from worker.caution import Caution
from worker.config import Settings
from worker.core.circuit import Shown
from worker.core.doubt import Window
from worker.core.errors import Outage, PauseCause
from worker.flow import Flow, Intake
from worker.health import Health
from worker.ledger import Store
from worker.metrics import Metrics
from worker.pauses import Gate, MassChange, Pauses
from worker.ports import Clock, Delivery, Publisher
from worker.process import Observer, Process
from worker.restored import Restored
from worker.wiring import handling_of, policy_of, reconciling, topology_of


@dataclass(frozen=True)
class Surroundings:
    """What the parts stand in. `skew` gives the outage that a wrong clock is, if it is one; `reach_broker` is the broker's probe."""

    clock: Clock
    metrics: Metrics
    health: Health
    store: Store
    client: Client
    publisher: Publisher
    patience: Patience
    caution: Caution
    pauses: Pauses
    observer: Observer
    skew: Callable[[], Outage | None]
    reach_broker: Probe


class Assembly:
    """`flow` and `process` are what runs. `open_intake` makes the intake, given whom it tells of deliveries and of losses."""

    def __init__(
        self,
        settings: Settings,
        around: Surroundings,
        open_intake: Callable[[Callable[[Delivery], None], Callable[[Exception], None]], Intake],
    ) -> None:
        self._around = around
        self.breaker = Breaker(around.client, around.clock, on_change=self._circuit_changed, trouble=self._trouble)
        lookups, reconciler = reconciling(
            settings,
            around.store,
            self.breaker,
            around.clock,
            around.metrics.lookup,
            Window(settings.ditio_timeout_s, settings.ditio_settle_s),
            MassChange(around.store, settings.worker_max_deactivations_per_h),
        )
        intake = open_intake(lambda delivery: self.flow.take(self.process, delivery), self._trouble)
        self.flow = Flow(
            Gate(intake, around.pauses, Restored(around.store, self.breaker, policy_of(settings)).settle),
            probes=self._probes(),
            health=around.health,
            metrics=around.metrics,
            clock=around.clock,
            drain_s=settings.worker_drain_s,
            patience=around.patience,
            half_open=lambda: self.breaker.half_open,
        )
        self.process = Process(
            handling_of(settings, topology_of(settings)),
            ledger=around.store,
            ditio=self.breaker,
            resolver=lookups,
            reconciler=reconciler,
            publisher=around.publisher,
            clock=around.clock,
            observer=around.observer,
            trouble=self._trouble,
            sure_of_clock=self.breaker.control,
            caution=around.caution,
        )

    def _trouble(self, error: Exception) -> None:
        self.flow.trouble(error)

    def _circuit_changed(self, state: Shown) -> None:
        self._around.metrics.circuit(state)
        if state == "closed":
            self.flow.circuit_closed()

    def _probes(self) -> Mapping[PauseCause, Probe]:
        around = self._around

        async def control() -> None:
            await self.breaker.probe()
            around.health.ok("credentials")

        async def clock() -> None:
            await self.breaker.control()
            if (skew := around.skew()) is not None:
                raise skew

        return {
            "circuit": control,
            "credentials": control,
            "clock": clock,
            "ledger": around.store.prove,
            "broker": around.reach_broker,
            "manual": around.pauses.over,
            "mass-change": around.pauses.over,
            "environment": around.caution.environment,
        }
