"""From a failing history to a small one that still fails, told in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.simulation.history import History

MOST_RUNS = 600


def shrunk(history: History, fails: Callable[[History], bool]) -> History:
    """The same failure with as little as can be found in a few hundred runs."""
    runs = 0
    smaller = True
    while smaller and runs < MOST_RUNS:
        smaller = False
        for candidate in _smaller(history):
            runs += 1
            if fails(candidate):
                history, smaller = candidate, True
                break
            if runs >= MOST_RUNS:
                break
    return history


def _smaller(history: History) -> Iterator[History]:
    for place in reversed(range(len(history.faults))):
        yield history.without(fault=place)
    for place in reversed(range(len(history.events))):
        yield history.without(event=place)
    for place, event in enumerate(history.events):
        if len(event.at) > 1:
            yield history.publishing(place, event.at[:1])


def story(history: History, violations: list[str]) -> str:
    """What happened, in order, and what is wrong in the end."""
    lines = [(at, f"the ERP publishes {event.id}: {event.told()}") for event in history.events for at in event.at]
    lines += [(fault.at, f"fault: {fault.told()}") for fault in history.faults]
    told = [f"{at:8.2f} s  {line}" for at, line in sorted(lines)]
    switches = f"on_delete={history.on_delete} client_ids={history.client_ids} duplicate={history.duplicate} latency={history.latency_s} s"
    existing = ", ".join("/".join(key) for key in history.existing) or "nothing"
    return "\n".join(
        [
            f"seed {history.seed}: {switches}; in Ditio already: {existing}",
            *told,
            "in the end:",
            *(f"  {violation}" for violation in violations),
            f"again: python -m tests.simulation --seed {history.seed}",
        ]
    )
