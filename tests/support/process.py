"""The worker as a process, with a sandbox and a broker around it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.support.waiting import eventually
from worker.sandbox import Options, Server
from worker.sandbox import environment as sandbox_environment

ROOT = Path(__file__).parents[2]


class WorkerProcess:
    """A worker that runs until it is stopped. Its log is in a file; `settings` are environment variables."""

    def __init__(self, settings: Mapping[str, str], folder: Path, command: Sequence[str] = ("-m", "worker", "run")) -> None:
        self._settings = dict(settings)
        self._command = tuple(command)
        self.folder = folder
        self.log_file = folder / "worker.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    @property
    def pid(self) -> int:
        """The id of the running process."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self, **more: str) -> None:
        """Starts it; its log goes on in the same file."""
        self.starts += 1
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": str(ROOT), **self._settings, **more}
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
            )

    async def ready(self, within_s: float = 30.0) -> None:
        """Returns when /readyz says so."""

        def is_ready() -> bool:
            assert self.running, self.log()
            return self.get("/readyz").startswith("200")

        await eventually(is_ready, within_s, what="worker is ready")

    def address(self) -> str:
        """Where its pages are, by its log since the last start."""
        found = re.findall(r"metrics and health at (http://[^\s\"]+)", self.log())
        return str(found[self.starts - 1]) if len(found) >= self.starts else ""

    def get(self, path: str) -> str:
        """A page: its status and text; empty when it cannot be had (yet)."""
        if not (address := self.address()):
            return ""
        try:
            answer = httpx.get(f"{address}{path}", timeout=5, trust_env=False)
        except httpx.TransportError:
            return ""
        return f"{answer.status_code} {answer.text}"

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over all series with these labels."""
        total = 0.0
        for line in self.get("/metrics").splitlines():
            found = re.fullmatch(r"ditio_worker_(\w+)(?:\{(.*)\})? (\S+)", line)
            if found and found[1] == name and all(f'{key}="{value}"' in (found[2] or "") for key, value in labels.items()):
                total += float(found[3])
        return total

    def log(self) -> str:
        """Everything that it has logged."""
        return self.log_file.read_text() if self.log_file.exists() else ""

    def lines(self, message: str = "settled") -> list[dict[str, Any]]:
        """The log lines with this message."""
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{") and line.endswith("}")]
        return [line for line in lines if line["message"] == message]

    def memory(self) -> int:
        """Resident bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def most_memory(self) -> int:
        """The most bytes that have been resident since it was started."""
        (line,) = (line for line in Path(f"/proc/{self.pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    def kill(self) -> None:
        """Ends it as a power cut would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def wait(self, within_s: float = 30.0) -> int:
        """The exit status of a process that ends by itself."""
        assert self._process is not None
        return self._process.wait(within_s)

    def stop(self, within_s: float = 40.0) -> int:
        """Asks it to stop, and returns its exit status."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.terminate()
        return self._process.wait(within_s)


def settings(amqp_url: str, server: Server, folder: Path, **more: str) -> dict[str, str]:
    """What a worker needs to know of a broker and a sandbox, with short times."""
    return {
        "AMQP_URL": amqp_url,
        **sandbox_environment(server, server.sandbox.options),
        "LEDGER_URL": f"sqlite://{folder}/ledger.db",
        "WORKER_HTTP_ADDRESS": "127.0.0.1:0",
        "WORKER_WAIT_STEPS_S": "1,2",
        "DITIO_TIMEOUT_S": "2",
        "DITIO_SETTLE_S": "2",
        **more,
    }


def temporary_folder() -> Path:
    """A folder that the caller removes."""
    return Path(tempfile.mkdtemp(prefix="ditio-test-"))


__all__ = ["Options", "WorkerProcess", "settings", "temporary_folder"]
