"""Why consumption pauses: causes that stand side by side, each shown, and each probed until it is over.

trouble ──► cause stands ──► probe … probe ──► over
                ▲                      └─────► on trial, while the circuit is half-open ──► over
                └──────────── trouble again ◄──┘
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from worker.core.backoff import full_jitter
from worker.core.errors import BrokerError, LedgerError, Outage, PauseCause, WorkerError
from worker.health import Condition, Health
from worker.metrics import Metrics
from worker.ports import Clock

log = logging.getLogger("worker.flow")

Probe = Callable[[], Awaitable[object]]
"""Returns when a cause is over. Raises WorkerError as long as it is not."""

PROBE_BASE_S = 1.0
PROBE_CAP_S = 30.0
CAPS_S: Mapping[PauseCause, float] = MappingProxyType({"broker": 10.0})
"""The broker's absence must not outlast it by more."""

CALM_S = 60.0
"""A cause that returns sooner goes on where its probing had come to."""

LINE_S = 60.0
"""A cause is told of in the log at once, and then no more often than this."""

CONDITIONS: Mapping[PauseCause, Condition] = MappingProxyType(
    {"broker": "broker", "ledger": "ledger", "credentials": "credentials"}
)
"""Which condition of readiness a cause breaks; the others break `paused`."""

TRIED: frozenset[PauseCause] = frozenset({"circuit", "credentials"})
"""Causes that a half-open circuit keeps standing: that Ditio can be read does not show that they are over."""


class Cause:
    """One that stands. `attempt` counts its probes, over short interruptions too; `told`: the log has it."""

    def __init__(self, error: Exception, attempt: int) -> None:
        self.error = error
        self.attempt = attempt
        self.on_trial = False
        self.told = False
        self.probing: asyncio.Task[None] | None = None


class Causes:
    """All that stand. `half_open` tells whether the circuit is; `changed` is called when consumption may have to start or stop."""

    def __init__(
        self,
        probes: Mapping[PauseCause, Probe],
        *,
        half_open: Callable[[], bool],
        health: Health,
        metrics: Metrics,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        self._probes = probes
        self._half_open = half_open
        self._health = health
        self._metrics = metrics
        self._clock = clock
        self._changed = changed
        self._standing: dict[PauseCause, Cause] = {}
        self._left: dict[PauseCause, tuple[float, int]] = {}
        self._told: dict[PauseCause, float] = {}

    @property
    def standing(self) -> Mapping[PauseCause, Exception]:
        """What is wrong, by cause."""
        return {name: cause.error for name, cause in self._standing.items()}

    @property
    def forbid(self) -> bool:
        """Whether no event may be taken at all."""
        return any(not cause.on_trial for cause in self._standing.values())

    def begin(self, error: Exception) -> None:
        """Something is wrong that is no event's fault; what is known to be wrong already is shown in the newer words."""
        name = cause_of(error)
        cause = self._standing.get(name)
        if cause is None:
            cause = self._standing[name] = Cause(error, self._attempts(name))
        cause.error, cause.on_trial = error, False
        self._show(name)
        self._tell(name, cause, "consumption pauses: %s")
        if cause.probing is None:
            cause.probing = asyncio.ensure_future(self._probe(name, cause))
        self._changed()

    def tried(self) -> None:
        """An event has shown that what was on trial is over."""
        for name in [name for name, cause in self._standing.items() if cause.on_trial]:
            self._over(name)

    def close(self) -> None:
        """Probes no more."""
        for cause in self._standing.values():
            if cause.probing is not None:
                cause.probing.cancel()

    async def _probe(self, name: PauseCause, cause: Cause) -> None:
        while True:
            cause.attempt += 1
            await self._clock.sleep(
                full_jitter(cause.attempt, base=PROBE_BASE_S, cap=CAPS_S.get(name, PROBE_CAP_S), chance=self._clock.chance())
            )
            try:
                if name in self._probes:
                    await self._probes[name]()
                break
            except WorkerError as error:
                cause.error = error
            except Exception as error:  # a probe that breaks must not end the probing
                log.exception("a probe failed", extra={"cause": name})
                cause.error = error
            self._show(name)
            self._tell(name, cause, "still paused: %s")
        cause.probing = None
        if name in TRIED and self._half_open():
            cause.on_trial = True
            self._changed()
        else:
            self._over(name)

    def _over(self, name: PauseCause) -> None:
        cause = self._standing.pop(name)
        self._left[name] = self._clock.monotonic(), cause.attempt
        self._metrics.paused(name, on=False)
        condition = condition_of(name)
        if condition != "broker":  # which is well when it delivers again
            self._health.ok(condition)
        for other in self._standing:
            self._show(other)
        if cause.told:
            log.info("over: %s", cause.error, extra={"cause": name})
        self._changed()

    def _attempts(self, name: PauseCause) -> int:
        at, attempt = self._left.get(name, (float("-inf"), 0))
        return attempt if self._clock.monotonic() - at < CALM_S else 0

    def _show(self, name: PauseCause) -> None:
        condition = condition_of(name)
        texts = [f"{each}: {cause.error}" for each, cause in self._standing.items() if condition_of(each) == condition]
        self._health.fail(condition, "; ".join(texts))
        self._metrics.paused(name, on=True)

    def _tell(self, name: PauseCause, cause: Cause, sentence: str) -> None:
        now = self._clock.monotonic()
        if now - self._told.get(name, float("-inf")) >= LINE_S:
            self._told[name], cause.told = now, True
            log.warning(sentence, cause.error, extra={"cause": name})


def condition_of(cause: PauseCause) -> Condition:
    """The condition of readiness that a cause breaks."""
    return CONDITIONS.get(cause, "paused")


def cause_of(error: Exception) -> PauseCause:
    """Why consumption pauses when this goes wrong."""
    match error:
        case Outage():
            return error.cause
        case LedgerError():
            return "ledger"
        case BrokerError():
            return "broker"
        case _:
            return "environment"
