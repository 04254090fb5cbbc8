"""The worker with a clock that can be set: `CLOCK_FILE=path python -m tests.support.clocked` adds the seconds in that file to the time.

The file is read whenever the time is asked for, so that the clock jumps under a running worker.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from worker.cli import main


def jumping(file: Path) -> Callable[[], float]:
    """The time, off by what the file says."""
    real = time.time

    def now() -> float:
        return real() + float(file.read_text() or 0)

    return now


if __name__ == "__main__":
    time.time = jumping(Path(os.environ["CLOCK_FILE"]))
    sys.exit(main(["run"]))
