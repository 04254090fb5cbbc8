"""Plays histories by their seeds, on all cores: `python -m tests.simulation --seeds 100000`, or one again with `--seed N`."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence

from rich.progress import track

from tests.simulation.history import history
from tests.simulation.shrinking import shrunk, story
from tests.simulation.world import play

CHUNK = 25
MOST_TOLD = 3


def main(argv: Sequence[str]) -> int:
    """0 when every history ends as it must, else 1."""
    arguments = _parser().parse_args(argv)
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets must not decide anything, and must not differ from run to run
        os.execve(sys.executable, [sys.executable, "-m", "tests.simulation", *argv], {**os.environ, "PYTHONHASHSEED": "0"})
    logging.disable(logging.CRITICAL)
    seeds = [arguments.seed] if arguments.seed is not None else range(arguments.first, arguments.first + arguments.seeds)
    began = time.perf_counter()
    failed = sorted(_played(seeds, arguments.jobs))
    took = time.perf_counter() - began
    for seed in failed[:MOST_TOLD]:
        print(_told(seed), flush=True)
    print(f"{len(seeds)} histories in {took:.1f} s ({len(seeds) / took:.0f} a second): {len(failed)} violated")
    if len(failed) > MOST_TOLD:
        print(f"seeds: {' '.join(map(str, failed[:100]))}")
    return 1 if failed else 0


def violated(seeds: Sequence[int]) -> list[int]:
    """Those of the seeds whose histories do not end as they must."""
    logging.disable(logging.CRITICAL)
    return [seed for seed in seeds if play(history(seed))]


def _played(seeds: Sequence[int], jobs: int) -> Iterator[int]:
    chunks = [seeds[place : place + CHUNK] for place in range(0, len(seeds), CHUNK)]
    if len(chunks) == 1:
        yield from violated(seeds)
        return
    with multiprocessing.Pool(jobs) as pool:
        for found in track(pool.imap_unordered(violated, chunks), "histories", len(chunks), disable=not sys.stderr.isatty()):
            yield from found


def _told(seed: int) -> str:
    smaller = shrunk(history(seed), lambda candidate: bool(play(candidate)))
    return story(smaller, play(smaller))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many histories (1000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--seed", type=int, help="this one history only; a failing one is told as small as it can be made")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (one for each core)")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
